"""The lines on what the runs of a sweep need."""

from __future__ import annotations

from dataclasses import replace

from dsnot_exp.launch.needs import needs_of_disk, needs_of_models
from dsnot_exp.models.at_hand import AtHand
from dsnot_exp.models.source import Source
from dsnot_exp.run.disk import Written
from dsnot_exp.run.foresee import Foreseen, ModelNeeds
from tests.launch.test_estimate import BASE
from tests.launch.test_outlook import BIG, KEY, LARGE, jobs

GB = 10**9


def lines_of(needs: ModelNeeds, model: AtHand, memory: int = 0) -> list[str]:
    found = Foreseen([], [], {KEY: needs}, memory=memory)
    return list(needs_of_models({KEY: BIG.model}, {KEY: model}, found))


def test_a_line_for_each_model() -> None:
    start = "  model     acme/big: 6.74 billion parameters, 13.48 GB in float16"
    source = Source("acme/big", "c0ffee")
    assert lines_of(LARGE, AtHand(source, 0)) == [start]
    assert lines_of(LARGE, AtHand(source, 5 * GB)) == [f"{start}, 5.00 GB to download"]
    assert lines_of(LARGE, AtHand(source)) == [f"{start}, size of the download unknown"]
    on_gpu = replace(LARGE, whole=True, peak=15 << 30)
    whole = f"{start}, whole on the device, about 15.0 GiB of 80.0 GiB"
    assert lines_of(on_gpu, AtHand(source, 0), memory=80 << 30) == [whole]
    parts = replace(LARGE, whole=False)
    assert lines_of(parts, AtHand(source, 0), 8 << 30) == [f"{start}, block by block on the device"]
    assert lines_of(parts, AtHand(source, 0)) == [f"{start}, block by block from disk"]


def test_why_a_model_cannot_be_used() -> None:
    """Nothing is said against one that some runs can use."""
    start = "  model     acme/big: cannot be used: "
    gated = {KEY: AtHand(refused="model.path=acme/big: this model is gated")}
    named, nothing = {KEY: BIG.model}, Foreseen([], [])
    assert list(needs_of_models(named, gated, nothing)) == [f"{start}this model is gated"]
    few = replace(nothing, refused={KEY: "calib.seqlen=4096: this model has 2048 positions"})
    (line,) = needs_of_models(named, {KEY: AtHand()}, few)
    assert line == f"{start}calib.seqlen=4096: this model has 2048 positions"
    (line,) = needs_of_models(named, {KEY: AtHand()}, replace(few, models={KEY: LARGE}))
    assert "cannot" not in line


def test_nothing_is_said_of_a_model_that_is_not_known_or_bundled() -> None:
    nothing = Foreseen([], [])
    assert list(needs_of_models({KEY: BIG.model}, {KEY: AtHand()}, nothing)) == []
    bundled = {"": BASE.model}
    assert list(needs_of_models(bundled, {"": AtHand()}, Foreseen([], [], {"": LARGE}))) == []


def test_the_disk() -> None:
    """One state at a time; a sparse model that runs share, or one's `pruned` stage, once."""
    own, twin, other = jobs(BIG, BIG, replace(BIG, sparsity=0.6))
    (refined,) = jobs(replace(BASE, model=BIG.model))
    runs = [
        replace(own, sparse="a"),
        replace(twin, sparse="a"),
        replace(other, sparse="b"),
        refined,
    ]
    written = [Written(7 * GB, GB, 0), Written(7 * GB, GB, 0), Written(8 * GB, GB, 2 * GB)]
    found = Foreseen([], [*written, Written(7 * GB, GB, 0)])
    (line,) = needs_of_disk(runs, {KEY: AtHand(None, 5 * GB)}, found)
    assert line == (
        "  disk      at most 18.00 GB: 5.00 GB of downloads, 8.00 GB for the state of a run, "
        "3.00 GB of kept masks, 2.00 GB of saved models"
    )
    without = replace(BIG, eval=replace(BIG.eval, baselines=[]))
    two = [replace(job, sparse="a") for job in jobs(without, without)]
    (line,) = needs_of_disk(two, {}, Foreseen([], written[:2]))
    assert line.endswith("8.00 GB: 7.00 GB for the state of a run, 1.00 GB of kept masks")
    little = Foreseen([], [Written(GB // 2, 0, 0), None, None])
    assert list(needs_of_disk(runs[:3], {}, little)) == []
