"""Sweeps: every study composes; nothing is done twice, nothing is lost, whoever dies on the way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal import config_loader_impl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from dsnot_exp.config import register_schema
from dsnot_exp.launch.jobs import planned
from dsnot_exp.run.lock import lock_folder
from dsnot_exp.run.run_id import run_id
from dsnot_exp.utils.console import say
from dsnot_exp.utils.paths import beside_or_inside, sweeps_path
from tests.support.command import Command, toy_arguments
from tests.support.forks import Forks
from tests.support.waiting import halt_at, until

STUDIES = sorted(path.stem for path in beside_or_inside("sweeps").glob("*.yaml"))
# Composing a run takes a sixth of a second: of values that all of a study's runs have, one will do.
LESS = {name: ["sparsity=0.6"] for name in ("frontier", "real", "table2")}
LESS |= {f"{name}_tiny": words for name, words in LESS.items()}
LESS |= {"table1": ["prune=wanda", "refine=dsnot"], "criteria": ["refine.grow=mean"]}
RUNS = {
    "table1": 9, "table1_tiny": 6, "table2_tiny": 6, "nm_tiny": 12, "zero_shot_tiny": 6,
    "runtime_tiny": 6, "criteria": 5, "criteria_tiny": 25, "seeds_tiny": 10, "real": 38,
    "real_tiny": 37, "frontier": 15, "frontier_tiny": 15,
}  # fmt: skip
TWO = ["prune=wanda,magnitude", "refine=none", "sparsity=0.5"]


@pytest.fixture(scope="module", autouse=True)
def _resolvers() -> None:
    register_schema()
    OmegaConf.register_new_resolver("run_id", run_id, replace=True)
    OmegaConf.register_new_resolver("sweeps_path", sweeps_path, replace=True)


@pytest.fixture(scope="module")
def read() -> list[Any]:
    """The configuration files that Hydra has read."""
    return []


@pytest.fixture
def files_are_read_once(read: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra reads and parses conf/ anew for every job; it does not change meanwhile."""

    class Copies(CachingConfigRepository):
        def load_config(self, config_path: str) -> Any:
            found = super().load_config(config_path)
            # Hydra merges all that follows into the schema.
            return deepcopy(found) if config_path == "schema" else found

    def first(*given: Any) -> Any:
        if not read:
            read.append(Copies(*given))
        return read[0]

    monkeypatch.setattr(config_loader_impl, "CachingConfigRepository", first)


@pytest.mark.usefixtures("files_are_read_once")
@pytest.mark.parametrize("study", STUDIES)
def test_every_study_composes_into_different_runs(study: str) -> None:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(beside_or_inside("conf")), version_base="1.3"):
        one = study.endswith("_tiny") or study == "table1"  # else its first model will do
        words = [f"+sweeps={study}", *([] if one else ["model=llama-7b"]), *LESS.get(study, ())]
        config = compose("config", words, return_hydra_config=True)
        config.hydra.overrides.task = words
        config.hydra.job.config_name = "config"
        jobs = planned(config).jobs
    assert [job.refusal for job in jobs if job.refusal] == []
    assert len({job.folder for job in jobs}) == len(jobs) == RUNS.get(study, len(jobs))
    assert {job.config.sweep for job in jobs if job.config} == {study}
    tiny = {job.config.model.name for job in jobs if job.config} == {"tinyworld"}
    assert tiny == study.endswith("_tiny")


def test_every_study_exists_for_the_bundled_model() -> None:
    full = {study for study in STUDIES if not study.endswith("_tiny")}
    assert {f"{study}_tiny" for study in full} <= set(STUDIES)
    assert {"table1", "table2", "nm", "zero_shot", "runtime", "lora", "cycles"} <= full


def test_a_sweep_prints_its_plan_and_its_results(command: Command, tmp_path: Path) -> None:
    words = ["-m", *toy_arguments(tmp_path), *TWO, "sweep=pair"]
    first = command(*words, run="")
    assert first.code == 0, first.err
    assert "sweep pair: 2 runs, 0 finished, 2 to run" in first.out
    assert f"{tmp_path}/toy (folder)" in first.out
    assert "  time " not in first.out  # so short a sweep needs no forecast
    assert "2 of 2 runs finished in outputs/pair" in first.out
    again = command(*words, "sparsity=0.5,0.6", run="")
    assert "sweep pair: 4 runs, 2 finished, 2 to run" in again.out
    assert again.out.count("already finished") == 2
    assert "4 of 4 runs finished" in again.out


def test_a_failed_job_is_named_and_only_it_runs_again(command: Command, tmp_path: Path) -> None:
    words = ["-m", *toy_arguments(tmp_path), *TWO, "sweep=pair"]
    (tmp_path / "missing").mkdir()
    broken = [f"model.path={tmp_path}/toy,{tmp_path}/missing"]
    done = command(*words, *broken, run="")
    assert done.code == 1
    assert "sweep pair: 4 runs" in done.out
    assert "2 of 4 runs finished" in done.out
    said = [line for line in done.out.splitlines() if "a config.json with a model_type" in line]
    assert [line.split()[0] for line in said] == ["model", "refused"]  # before and after
    assert "as save_pretrained writes it (2 runs)" in done.out
    assert done.err.count("\n") == 2, done.err
    shutil.copytree(tmp_path / "toy", tmp_path / "missing", dirs_exist_ok=True)
    again = command(*words, *broken, run="")
    assert again.code == 0, again.err
    assert again.out.count("already finished") == 2
    assert "4 of 4 runs finished" in again.out


def test_an_unknown_sweep_is_refused_with_the_list_of_sweeps(command: Command) -> None:
    done = command("-m", "+sweeps=tabel1", run="")
    assert done.code == 2
    assert "tabel1" in done.err
    assert "table1_tiny" in done.err
    assert done.err.count("\n") == 1


Hold = Callable[[Path], subprocess.Popen[str]]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Starts another process that locks a run's folder until it is killed."""
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    others: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> subprocess.Popen[str]:
        command, pipe = [sys.executable, "-c", code, str(folder / ".lock")], subprocess.PIPE
        others.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
        assert others[-1].stdout is not None
        assert others[-1].stdout.readline() == "held\n"
        return others[-1]

    yield start
    for other in others:
        other.kill()
        other.communicate()


def when_it_waits(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Call `act` when the command says that it waits for the lock."""

    def said(line: str) -> None:
        say(line)
        if "waiting for it" in line:
            act()

    monkeypatch.setattr("dsnot_exp.run.lock.say", said)


def folders(command: Command, words: list[str]) -> list[Path]:
    """Those of a finished sweep, whose results are then taken away."""
    assert command(*words, run="").code == 0
    found = sorted(path.parent for path in command.folder.glob("outputs/*/*/result.json"))
    for folder in found:
        (folder / "result.json").unlink()
    return found


def test_a_sweep_skips_a_locked_run_and_takes_it_over_if_its_process_dies(
    command: Command, hold: Hold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["-m", *toy_arguments(tmp_path), *TWO]
    first, _ = folders(command, words)
    other = hold(first)
    when_it_waits(monkeypatch, other.kill)  # it leaves no result
    done = command(*words, run="")
    assert done.code == 0, done.err
    assert f"skipped: another process is running {first}" in done.out
    assert f"{first.name}: waiting for it" in done.out
    assert "already finished" in done.out
    assert len(list(command.folder.glob("outputs/*/*/result.json"))) == 2


def test_a_run_waits_for_another_process_and_uses_its_result(
    command: Command, hold: Hold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = toy_arguments(tmp_path)
    folder = command(*words).folder
    result = (folder / "result.json").read_bytes()
    (folder / "result.json").unlink()
    other = hold(folder)

    def finish() -> None:
        (folder / "result.json").write_bytes(result)
        other.kill()

    when_it_waits(monkeypatch, finish)
    done = command(*words)
    assert done.code == 0
    assert "waiting for it" in done.out
    assert "already finished" in done.out


def test_the_lock_of_a_dead_process_is_free(hold: Hold, tmp_path: Path) -> None:
    owner = hold(tmp_path)
    with lock_folder(tmp_path, wait=False) as ours:
        assert not ours
    owner.kill()
    owner.wait()
    with lock_folder(tmp_path, wait=False) as ours:
        assert ours


def test_after_kill_9_results_are_complete_and_the_same_command_finishes_the_sweep(
    forks: Forks, tmp_path: Path
) -> None:
    words = ["-m", *toy_arguments(tmp_path, num_hidden_layers=2), "prune=wanda,magnitude"]
    words += ["refine=none,dsnot", f"out={tmp_path}/outputs"]

    def results() -> list[dict]:
        found = tmp_path.glob("outputs/runs/*/result.json")
        return [json.loads(path.read_text()) for path in found]

    process = forks.start(tmp_path, *words, **halt_at("result.json", 2))
    until(lambda: len(results()) == 2 or process.ended())
    process.kill()
    assert [result["status"] for result in results()] == ["finished"] * 2
    again = forks.start(tmp_path, *words)
    assert again.wait() == 0, again.err
    assert len(results()) == 4
    assert again.out.count("already finished") == 2
    assert "4 of 4 runs finished" in again.out
