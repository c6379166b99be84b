"""The time that a sweep has left: from runs that had the same parts, shared parts once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.config import Config, EvalConfig
from dsnot_exp.launch.estimate import time_left
from dsnot_exp.launch.jobs import Job
from dsnot_exp.utils.words import roughly

BASE = Config(
    prune={"name": "wanda"},
    refine={"name": "dsnot", "max_cycles": 5},
    allocate={"name": "uniform"},
    reconstruct={"name": "none"},
    sparsity=0.5,
    eval=EvalConfig(name="ppl", perplexity=["a", "b"]),
)
BASE.model.name = "tinyworld"
WANDA = replace(BASE, refine={"name": "none"})
DENSE = replace(WANDA, prune={"name": "none"})
SECONDS = {"load": 1, "calibrate": 20, "prune": 4, "refine": 6, "evaluate": 300, "total": 340}


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path)


class Sweep:
    """Jobs in one folder, of which some are finished."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.jobs = folder, list[Job]()

    def job(self, config: Config, sparse: str | None = None, device: str = "cpu") -> Job:
        name = f"{len(self.jobs)}"
        found = Job(self.folder / name, [], name, config, device, sparse)
        self.jobs.append(found)
        return found

    def finish(self, job: Job, timing: dict[str, float] | None = None, **more: Any) -> None:
        assert job.config is not None
        texts = {name: {} for name in job.config.eval.perplexity}
        job.folder.mkdir()
        content = {
            "schema": 1, "status": "finished", "config_hash": job.identity,
            "timing_s": SECONDS if timing is None else timing,
            "metrics": {"perplexity": texts, "zero_shot": {}}, **more,
        }  # fmt: skip
        (job.folder / "result.json").write_text(json.dumps(content))

    def left(self, jobs: list[Job] | None = None) -> str | None:
        return time_left(self.jobs if jobs is None else jobs, self.jobs)


def test_nothing_is_said_without_a_finished_run_of_the_same_kind(sweep: Sweep) -> None:
    first = sweep.job(BASE)
    assert sweep.left() is None
    sweep.finish(first)
    assert sweep.left() is None  # nothing is left
    for other in (
        replace(BASE, model=replace(BASE.model, dtype="float16")),
        replace(BASE, model=replace(BASE.model, name="other")),
        replace(BASE, prune={"name": "sparsegpt"}),
        replace(BASE, refine={"name": "swaps"}),
        replace(BASE, finetune={"name": "lora"}),
        replace(BASE, eval=replace(BASE.eval, perplexity=["c"])),
        replace(BASE, eval=replace(BASE.eval, blocks=3)),
    ):
        assert sweep.left([sweep.job(other)]) is None
    assert sweep.left([sweep.job(replace(BASE, sparsity=0.6), device="cuda")]) is None


def test_dense_and_pruned_measurements_count_once(sweep: Sweep) -> None:
    """The first run: 3 stages in 300 s, two walks of 12 s, refinement, and 10 s for the rest."""
    sweep.finish(sweep.job(BASE))
    second, third = (sweep.job(replace(BASE, sparsity=s)) for s in (0.6, 0.7))
    # dense is there; pruned at this sparsity is not: 2 stages, a walk with and one without DSnoT
    one = 10 + 200 + 12 + 6 + 12
    assert sweep.left([second]) == f"about {one / 60:.0f} min left, from 1 finished run"
    assert sweep.left([second, third]) == f"about {2 * one / 60:.0f} min left, from 1 finished run"
    same = sweep.job(replace(BASE, refine={"name": "dsnot", "max_cycles": 7}))
    assert sweep.left([same]) == "about 2 min left, from 1 finished run"  # 10 + 100 + 12 + 6
    twin = sweep.job(replace(BASE, sparsity=0.6, refine={"name": "dsnot", "max_cycles": 7}))
    total = one + 128
    assert sweep.left([second, twin]) == f"about {total / 60:.0f} min left, from 1 finished run"


def test_a_run_without_refinement_measures_the_pruned_model_for_others(sweep: Sweep) -> None:
    timing = {"calibrate": 8, "prune": 4, "evaluate": 200, "total": 220}
    sweep.finish(sweep.job(WANDA), timing)
    refined = sweep.job(BASE)
    assert sweep.left([refined]) is None  # nobody knows what DSnoT takes
    sweep.finish(sweep.job(replace(BASE, sparsity=0.6)))
    # dense and pruned are there: rest, one stage, the walk with DSnoT
    assert sweep.left([refined]) == "about 2 min left, from 2 finished runs"


def test_a_kept_sparse_model_is_pruned_once(sweep: Sweep) -> None:
    plain = replace(WANDA, eval=replace(WANDA.eval, baselines=[]))
    timing = {"calibrate": 400.0, "prune": 100.0, "evaluate": 50.0, "total": 560.0}
    sweep.finish(sweep.job(plain, sparse="a"), timing)
    other = replace(plain, sparsity=0.6)
    fresh, again = sweep.job(other, sparse="b"), sweep.job(replace(other, seed=0), sparse="b")
    assert sweep.left([fresh]) == "about 9 min left, from 1 finished run"  # 560 s
    assert sweep.left([fresh, again]) == "about 10 min left, from 1 finished run"  # 560 + 60
    apart = [sweep.job(other), sweep.job(other)]
    assert sweep.left(apart) == "about 19 min left, from 1 finished run"


def test_a_run_that_found_all_of_it_says_nothing_of_a_walk(sweep: Sweep) -> None:
    timing = {"load": 5, "evaluate": 100, "total": 106}
    taken = {"reused_stages": ["sparse", "pruned"], "reused": ["a", "b"]}
    sweep.finish(sweep.job(BASE, sparse="a"), timing, **taken)
    assert sweep.left([sweep.job(replace(BASE, sparsity=0.6), sparse="b")]) is None
    known = sweep.job(replace(BASE, seed=0), sparse="a")  # the same stage once more
    assert sweep.left([known]) == "about 110 s left, from 1 finished run"


def test_part_of_the_runs_can_be_told(sweep: Sweep) -> None:
    timing = {"load": 1, "evaluate": 3600, "total": 3605}
    sweep.finish(sweep.job(DENSE), timing)
    others = [sweep.job(WANDA), sweep.job(replace(DENSE, seed=1)), sweep.job(BASE)]
    assert sweep.left(others) == "about 10 s left for 1 of 3 runs, from 1 finished run"
    refused = Job(sweep.folder / "refused", refusal="no", invalid=True)
    sweep.jobs.append(refused)
    assert sweep.left([refused]) is None


def test_runs_with_other_options_of_the_same_methods_do_for_want_of_better_ones(
    sweep: Sweep,
) -> None:
    evaluation = replace(BASE.eval, baselines=[])
    few, many = (
        replace(BASE, refine={"name": "dsnot", "max_cycles": n}, eval=evaluation) for n in (5, 50)
    )
    timing = {"calibrate": 10, "refine": 90, "evaluate": 0, "total": 100}
    sweep.finish(sweep.job(few), timing)
    left = [sweep.job(replace(many, sparsity=0.6))]
    assert sweep.left(left) == "about 100 s left, from 1 finished run"
    sweep.finish(sweep.job(many), {**timing, "refine": 590, "total": 600})
    assert sweep.left(left) == "about 10 min left, from 2 finished runs"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.3, "10 s"), (44, "40 s"), (110, "110 s"), (115, "2 min"), (170, "3 min"),
     (7100, "118 min"), (7200, "2.0 h"), (36000, "10 h"), (172800, "2.0 days")],
)  # fmt: skip
def test_durations_are_round(seconds: float, text: str) -> None:
    assert roughly(seconds) == text
