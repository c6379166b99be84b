"""Lists of everything: what is one run, what is left out, and what is refused before the first
run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra.errors import HydraException

from dsnot_exp.launch.jobs import Planned, planned
from tests.launch.test_grids import composed
from tests.support.command import Command, toy_arguments


def plan(*words: str) -> Planned:
    with composed(*words) as config:
        return planned(config)


def methods(found: Planned) -> list[tuple[str, str, str, str]]:
    configs = [job.config for job in found.jobs if job.config is not None]
    return [(c.eval.name, c.prune["name"], c.refine["name"], c.pattern) for c in configs]


def test_every_group_takes_a_list() -> None:
    found = plan("eval=ppl,zero_shot", "prune=wanda,ria", "refine=none,swaps", "sparsity=0.5,2:4")
    assert len(set(methods(found))) == len(found.jobs) == found.combinations == 16
    assert {pattern for *_, pattern in methods(found)} == {"unstructured", "2:4"}
    assert not any(job.refusal for job in found.jobs)
    # Runs that differ in `eval` alone share their sparse model.
    assert len({job.sparse for job in found.jobs}) == 8


def test_what_has_no_effect_makes_no_run() -> None:
    dense = plan("prune=none,wanda", "refine=none,dsnot", "sparsity=0.5,2:4")
    assert dense.combinations == 8
    assert [prune for _, prune, *_ in methods(dense)] == ["none", *["wanda"] * 4]
    same = plan("pattern=2:4,unstructured", "sparsity=null,0.5,2:4", "prune=magnitude")
    assert [pattern for *_, pattern in methods(same)] == ["2:4", "unstructured"]
    more = plan("save=false,true", "wandb=offline,disabled", "prune=magnitude")
    saves = [job.config.save for job in more.jobs if job.config is not None]
    assert saves == [False, True]  # it leaves a model


def test_an_option_is_left_out_where_another_method_has_it() -> None:
    found = plan("refine=none,dsnot,swaps", "refine.max_cycles=5,50", "prune=wanda,sparsegpt",
                 "prune.block=choice(64)", "sparsity=0.5")  # fmt: skip
    configs = [job.config for job in found.jobs if job.config is not None]
    cycles = [(c.refine["name"], c.refine.get("max_cycles")) for c in configs]
    once = [("none", None), ("dsnot", 5), ("dsnot", 50), ("swaps", None)]
    assert sorted(cycles, key=str) == sorted(once * 2, key=str)
    assert {c.prune["name"]: c.prune.get("block") for c in configs} == {
        "wanda": None, "sparsegpt": 64,
    }  # fmt: skip
    assert set(found.left_out) == {
        "refine.max_cycles with refine=none", "refine.max_cycles with refine=swaps",
        "prune.block with prune=wanda",
    }  # fmt: skip
    assert found.combinations == 12


@pytest.mark.parametrize(
    "words",
    [
        ["refine=none", "refine.max_cycles=5,50"],
        ["refine=none,dsnot", "refine.max_cycle=5"],
        ["refine=none,dsnot", "prune.max_cycles=5"],
        ["prune=wanda,magnitude", "prune.block=64"],
    ],
    ids=["no list", "misspelt", "other group", "nobody has it"],
)
def test_an_option_that_no_method_has_is_refused(words: list[str]) -> None:
    with pytest.raises(HydraException, match=r"max_cycle|block"):
        plan(*words)


def test_a_single_value_goes_to_the_methods_that_have_the_option(
    command: Command, tmp_path: Path
) -> None:
    """Also where the default method, Wanda, has no such option."""
    words = ["-m", *toy_arguments(tmp_path), "prune=magnitude,sparsegpt", "refine=none"]
    done = command(*words, "prune.block=8", "prune.scope=row", "sweep=single", run="")
    assert done.code == 0, done.err
    assert "prune.block with prune=magnitude, prune.scope with prune=sparsegpt" in done.out
    results = [json.loads(f.read_text()) for f in command.folder.glob("outputs/single/*/*.json")]
    options = {r["config"]["prune"]["name"]: r["config"]["prune"] for r in results}
    assert options["magnitude"]["scope"] == "row"
    assert options["sparsegpt"]["block"] == 8
    assert all("choice" not in r["command"] for r in results)
    wrong = command(*words, "prune.blok=8", "sweep=wrong", run="")
    assert wrong.code == 2
    assert "prune.blok" in wrong.err
    assert wrong.err.count("\n") == 1


def test_what_is_invalid_is_refused_before_the_first_run_and_does_not_start(
    command: Command, tmp_path: Path
) -> None:
    words = ["-m", *toy_arguments(tmp_path), "prune=magnitude", "refine=none"]
    words += ["pattern=2:4,unstructured", "sparsity=0.6,0.7,2:4", "sweep=lists"]
    done = command(*words, run="")
    assert done.code == 1
    assert "sweep lists: 5 runs, 0 finished, 3 to run, 2 refused" in done.out
    assert "same      1 of 6 combinations is the same run as another" in done.out
    assert "of 3: " in done.out
    assert "3 of 5 runs finished" in done.out
    assert done.err.splitlines() == [
        f"dsnot_exp: sparsity={given}: pattern=2:4 implies 0.5; leave sparsity out, or choose "
        "pattern=unstructured"
        for given in ("0.6", "0.7")
    ]
    folders = [path for path in command.folder.glob("outputs/lists/*") if path.is_dir()]
    assert sorted(json.loads((f / "result.json").read_text())["config"]["sparsity"]
                  for f in folders) == [0.5, 0.6, 0.7]  # fmt: skip


def test_a_sweep_of_refused_runs_leaves_nothing(command: Command) -> None:
    done = command("-m", "sparsity=1.5,2.5", "prune=magnitude", run="")
    assert done.code == 2
    assert "2 runs, 0 finished, 0 to run, 2 refused" in done.out
    assert done.err.count("expected a fraction") == 2
    assert list(command.folder.iterdir()) == []


def test_the_time_left_is_told_at_the_start_and_after_each_run(
    command: Command, tmp_path: Path
) -> None:
    words = ["-m", *toy_arguments(tmp_path), "prune=magnitude", "refine=none", "sweep=time"]
    first = command(*words, "sparsity=0.5,0.6,0.7", run="")
    assert first.code == 0, first.err
    told = [line for line in first.out.splitlines() if " left" in line and "from" in line]
    assert [line.partition(" left, ")[2] for line in told] == [
        "from 1 finished run", "from 2 finished runs",
    ]  # fmt: skip
    assert all(line.startswith("sweep     about ") for line in told)
    again = command(*words, "sparsity=0.5,0.6,0.7,0.8", run="")
    assert "time      about 10 s left, from 3 finished runs" in again.out
