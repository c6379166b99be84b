"""Presets by purpose: what `+method=NAME` means, and that what is typed beside it counts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from dsnot_exp.config import Config
from dsnot_exp.launch.grids import words_of
from dsnot_exp.launch.jobs import Job
from dsnot_exp.methods import registry
from dsnot_exp.results.file import flatten
from dsnot_exp.run.auto_allocation import settle_allocator
from tests.launch.test_grids import composed, jobs
from tests.support.command import Command, toy_arguments

PARTS = ("prune", "allocate", "refine", "reconstruct")
BEST = ["prune=alps", "refine=none", "allocate=fisher", "calib.target.alpha=0.5",
        "calib.target.beta=0.25", "reconstruct=block"]  # fmt: skip


def planned(*words: str) -> list[Job]:
    found = jobs(*words)
    assert [job.refusal for job in found] == [None] * len(found)
    return found


def composition(job: Job) -> tuple[object, ...]:
    config = job.config
    assert isinstance(config, Config)
    target = config.calib.target
    names = [getattr(config, group)["name"] for group in PARTS]
    return (*names, target.alpha, target.beta)


def test_every_preset_is_its_composition() -> None:
    words = ["+method=dsnot,fast,best", "sparsity=0.6,2:4"]
    assert [composition(job) for job in planned(*words)] == [
        ("wanda", "uniform", "dsnot", "none", 0.0, 0.0),
        ("wanda", "uniform", "dsnot", "none", 0.0, 0.0),
        ("wanda", "uniform", "moments", "none", 0.0, 0.0),
        ("wanda", "uniform", "moments", "none", 0.0, 0.0),
        ("alps", "fisher", "none", "block", 0.5, 0.25),
        ("alps", "uniform", "none", "block", 0.5, 0.25),  # N:M has no allocation
    ]


def test_what_is_typed_takes_the_place_of_a_part_wherever_it_stands() -> None:
    (job,) = planned("prune=sparsegpt", "+method=best", "allocate=uniform", "calib.target.alpha=0")
    assert composition(job) == ("sparsegpt", "uniform", "none", "block", 0.0, 0.25)
    (job,) = planned("+method=best", "allocate.step=0.25", "prune.schedule=full")
    assert job.config is not None
    assert (job.config.allocate["step"], job.config.prune["schedule"]) == (0.25, "full")


def test_a_preset_is_the_same_run_as_its_parts_and_is_recorded() -> None:
    (preset,), (parts,) = planned("+method=best"), planned(*BEST)
    assert preset.config is not None
    assert parts.config is not None
    assert (preset.identity, preset.folder) == (parts.identity, parts.folder)
    assert (preset.config.method, parts.config.method) == ("best-2", None)
    assert preset.folder.name.startswith("tinyworld-alps-0.5-none-block-fisher-")


@pytest.mark.parametrize(
    ("amount", "most", "name"),
    [
        (0.9, 0.95, "fisher"), (0.97, 0.95, "uniform"), (0.97, 0.98, "fisher"),
        (0.0, 0.95, "uniform"), ((4, 8), 0.95, "uniform"),
    ],
)  # fmt: skip
def test_auto_is_fisher_where_layers_may_differ(
    amount: float | tuple[int, int], most: float, name: str
) -> None:
    options = {**registry.options("allocate", "fisher"), "most": most}
    found = settle_allocator({"name": "auto", **options}, amount)
    assert found == ({"name": name, **options} if name == "fisher" else {"name": name})


def test_the_frontier_has_every_composition_at_every_sparsity() -> None:
    with composed("+sweeps=frontier") as config:
        found = words_of(config, GlobalHydra.instance().config_loader())
    varied = ("model=", "calib.samples=", "eval", "+sweeps=")
    runs = [tuple(w for w in job if not w.startswith(varied)) for job in found]
    seeds = [run for run in runs if "seed=1" in run or "seed=2" in run]
    target = ("calib.target.alpha=0.5", "calib.target.beta=0.25")
    for amount in ("0.5", "0.6", "0.7", "0.8", r"2\:4", r"4\:8"):
        here = [run[1:] for run in runs if run[0] == f"sparsity={amount}" and run not in seeds]
        assert here == [
            ("prune=sparsegpt", "refine=none"),
            ("prune=wanda", "refine=none"),
            ("prune=alps", "refine=none"),
            ("prune=wanda", "refine=moments"),
            ("prune=wanda", "refine=swaps"),
            ("prune=wanda", "refine=swaps", "reconstruct=cg"),
            ("prune=sparsegpt", "refine=none", *target),
            ("prune=alps", "refine=none", *target),
            ("prune=alps", "refine=none", "allocate=auto"),
            ("+method=best", "reconstruct=none"),
            ("+method=best",),
        ]
    assert {run[0] for run in seeds} == {"sparsity=0.6"}
    assert len(seeds) == 4


def test_a_preset_that_is_typed_takes_the_place_of_a_grids() -> None:
    with composed("+sweeps=frontier", "+method=fast") as config:
        found = words_of(config, GlobalHydra.instance().config_loader())
    presets = {word for job in found for word in job if word.startswith("+method")}
    assert presets == {"+method=fast"}


def test_a_run_records_its_preset(command: Command, tmp_path: Path) -> None:
    done = command(*toy_arguments(tmp_path), "+method=fast", "sparsity=0.6")
    assert done.code == 0, done.err
    options = flatten(done.result["config"])
    assert options["method"] == "fast-1"
    assert (options["prune.name"], options["refine.name"]) == ("wanda", "moments")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["+method=bset"], r"method=bset: choose from best, dsnot, fast; did you mean best\?"),
        (["method=best"], r"method=best: for a preset write \+method=best$"),
        (["++method=best"], r"write \+method=best$"),
        (["+method=best,fast"], r"several values are a sweep: add -m$"),
        (["+method=[best]"], r"choose one of best, dsnot, fast"),
        (["+method=3"], r"method=3: choose from best"),
        (["~method"], r"choose a value: \+method=VALUE"),
        (["method.prune=wanda"], r"method\.prune: no such option; .*\+method=NAME"),
        (["allocate=auto", "pattern=2:4", "allocate.step=7"], r"allocate\.step=7\.0: expected"),
        (["+method=best", "prune=wanda"], r"calib\.target\.alpha=0\.5: no method of this run"),
    ],
)
def test_a_wrong_preset_is_answered_in_one_line(
    command: Command, words: list[str], line: str
) -> None:
    done = command(*words)
    assert done.code == 2
    assert re.search(line, done.err), done.err
    assert done.err.count("\n") == 1, done.err
    assert list(command.folder.iterdir()) == []
