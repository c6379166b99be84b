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
    gated = AtHand(refused="model.path=acme/big: this model is gated")
    assert lines_of(LARGE, gated) == ["  model     acme/big: cannot be used: this model is gated"]


def test_nothing_is_said_of_a_model_that_is_not_known_or_bundled() -> None:
    nothing = Foreseen([], [])
    assert list(needs_of_models({KEY: BIG.model}, {KEY: AtHand()}, nothing)) == []
    bundled = {"": BASE.model}
    assert list(needs_of_models(bundled, {"": AtHand()}, Foreseen([], [], {"": LARGE}))) == []


def test_the_disk() -> None:
    """One state at a time; a sparse model that runs share once; downloads once."""
    own, twin, other = jobs(BIG, BIG, replace(BIG, sparsity=0.6))
    three = [replace(own, sparse="a"), replace(twin, sparse="a"), replace(other, sparse="b")]
    written = [Written(7 * GB, GB, 0), Written(7 * GB, GB, 0), Written(8 * GB, GB, 2 * GB)]
    models = {KEY: AtHand(None, 5 * GB)}
    found = Foreseen([], [*written])
    pruned = 2 * GB  # the `pruned` stage of either sparsity is kept too
    (line,) = needs_of_disk(three, models, found)
    assert line == (
        f"  disk      at most {(8 + 2 + 2 + 5) * GB / 1e9 + pruned / 1e9:.2f} GB: 5.00 GB of "
        "downloads, 8.00 GB for the state of a run, 4.00 GB of kept masks, 2.00 GB of saved models"
    )
    little = Foreseen([], [Written(GB // 2, 0, 0), None, None])
    assert list(needs_of_disk(three, {}, little)) == []
