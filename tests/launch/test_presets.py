"""Presets by purpose: what `+method=NAME` means, and that what is typed beside it counts."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from dsnot_exp.config import Config
from dsnot_exp.launch.jobs import Job
from dsnot_exp.results.file import flatten
from tests.launch.test_grids import jobs
from tests.support.command import Command, toy_arguments

PARTS = ("prune", "allocate", "refine", "reconstruct")
BEST = ["prune=alps", "refine=none", "allocate=fisher", "calib.target.alpha=0.5",
        "calib.target.beta=0.25"]  # fmt: skip


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
        ("alps", "fisher", "none", "none", 0.5, 0.25),
        ("alps", "uniform", "none", "none", 0.5, 0.25),  # N:M has no allocation
    ]


def test_what_is_typed_takes_the_place_of_a_part_wherever_it_stands() -> None:
    (job,) = planned("prune=sparsegpt", "+method=best", "allocate=uniform", "calib.target.alpha=0")
    assert composition(job) == ("sparsegpt", "uniform", "none", "none", 0.0, 0.25)
    (job,) = planned("+method=best", "allocate.step=0.25", "prune.schedule=full")
    assert job.config is not None
    assert (job.config.allocate["step"], job.config.prune["schedule"]) == (0.25, "full")


def test_a_preset_is_the_same_run_as_its_parts_and_is_recorded() -> None:
    (preset,), (parts,) = planned("+method=best"), planned(*BEST)
    assert preset.config is not None
    assert parts.config is not None
    assert (preset.identity, preset.folder) == (parts.identity, parts.folder)
    assert (preset.config.method, parts.config.method) == ("best-1", None)
    assert preset.folder.name.startswith("tinyworld-alps-0.5-none-fisher-")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["sparsity=0.9"], "fisher"), (["sparsity=0.97"], "uniform"), (["sparsity=0"], "uniform"),
        (["pattern=4:8"], "uniform"), (["sparsity=0.97", "allocate.most=0.98"], "fisher"),
    ],
)  # fmt: skip
def test_auto_allocates_where_there_is_a_choice(words: list[str], name: str) -> None:
    (job,) = planned("allocate=auto", "prune=magnitude", "refine=none", *words)
    assert composition(job)[1] == name


def test_a_wrong_option_of_auto_is_refused_also_where_it_is_uniform() -> None:
    (job,) = jobs("allocate=auto", "allocate.step=7", "pattern=2:4")
    assert job.refusal is not None
    assert "allocate.step=7" in job.refusal


def test_the_frontier_has_every_composition_once() -> None:
    found = planned("+sweeps=frontier_tiny", "sparsity=0.6,2:4")
    places = [(job.config.pattern, composition(job)) for job in found if job.config]
    seeds = Counter(places)
    unstructured = {names: n for (pattern, names), n in seeds.items() if pattern == "unstructured"}
    target = (0.5, 0.25)
    assert unstructured == {
        ("sparsegpt", "uniform", "none", "none", 0.0, 0.0): 3,
        ("wanda", "uniform", "none", "none", 0.0, 0.0): 1,
        ("wanda", "uniform", "moments", "none", 0.0, 0.0): 1,
        ("wanda", "uniform", "swaps", "none", 0.0, 0.0): 1,
        ("wanda", "uniform", "swaps", "cg", 0.0, 0.0): 1,
        ("sparsegpt", "uniform", "none", "none", *target): 1,
        ("alps", "uniform", "none", "none", 0.0, 0.0): 1,
        ("alps", "uniform", "none", "none", *target): 1,
        ("alps", "fisher", "none", "none", 0.0, 0.0): 1,
        ("alps", "fisher", "none", "none", *target): 3,
        ("alps", "fisher", "none", "block", *target): 3,
    }
    patterned = {names for pattern, names in seeds if pattern == "2:4"}
    assert {allocator for _, allocator, *_ in patterned} == {"uniform"}
    assert len({job.identity for job in found}) == len(found)


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
