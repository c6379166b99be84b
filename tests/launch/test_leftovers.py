"""What a run that is refused, interrupted or failed leaves behind."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Command, toy_arguments


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("flags", [[], ["-m"]])
@pytest.mark.parametrize("place", ["own", ""])
def test_a_run_that_is_refused_for_its_model_leaves_nothing(
    command: Command, flags: list[str], place: str
) -> None:
    given = [f"hydra.{kind}.dir=own/folder" for kind in ("run", "sweep")] if place else []
    done = command(*flags, *given, "model=local", "model.path=missing", run="")
    assert done.code == 2
    assert "model.path=missing: no such folder" in done.err
    assert left(command.folder) == []
    if flags:
        assert "refused   model.path=missing: no such folder" in done.out


def test_a_sweep_whose_jobs_are_all_refused_leaves_nothing(command: Command) -> None:
    done = command("-m", "sparsity=1.5,2", run="")
    assert done.code == 2
    assert "refused   sparsity=1.5: expected a fraction" in done.out
    assert "refused   sparsity=2: expected a fraction" in done.out
    assert left(command.folder) == []


def test_folders_and_files_from_before_stay(command: Command) -> None:
    (command.folder / "outputs" / "runs").mkdir(parents=True)
    (command.folder / "run").mkdir()
    (command.folder / "run" / "dsnot_exp.log").write_text("of an earlier run\n")
    before = left(command.folder)
    assert command("sparsity=1.5", run="").code == 2
    assert command("model=local", "model.path=missing", run="").code == 2
    assert command("-m", "sparsity=1.5", run="").code == 2
    assert command("sparsity=1.5").code == 2
    assert left(command.folder) == before
    assert "of an earlier run" in (command.folder / "run" / "dsnot_exp.log").read_text()


def test_a_refused_job_does_not_touch_the_others(command: Command, tmp_path: Path) -> None:
    words = [*toy_arguments(tmp_path), "eval.perplexity=[]", "prune=magnitude", "refine=none"]
    done = command("-m", *words, "sparsity=0.5,1.5,2:4", run="")
    assert done.code == 1
    assert "2 of 3 runs finished" in done.out
    assert "refused   sparsity=1.5" in done.out
    names = {path.parent.name for path in command.folder.glob("outputs/runs/*/result.json")}
    assert {name.rpartition("-")[0] for name in names} == {
        "toy-magnitude-0.5-none",
        "toy-magnitude-2of4-none",
    }
    assert {path.name for path in command.folder.glob("outputs/runs/*/")} == names


class Interrupt:
    """Ctrl-C at the import of a module."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> None:
        if name == self.name:
            raise KeyboardInterrupt


@pytest.mark.parametrize("module", ["dsnot_exp.launch.command", "dsnot_exp.run.job"])
def test_ctrl_c_during_imports_prints_one_line_and_leaves_nothing(
    command: Command, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    parent, _, name = module.rpartition(".")
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr(sys.modules[parent], name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupt(module), *sys.meta_path])
    done = command(run="")
    assert (done.code, done.out) == (130, ""), done.err
    assert done.err == "dsnot_exp: interrupted; finished work is kept\n"
    assert left(command.folder) == []
