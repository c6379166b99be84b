"""Runs with a saved model, and the export command in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.export.__main__ import main
from tests.support.command import Command, toy_arguments


@dataclass(frozen=True)
class Exported:
    code: int
    out: str
    err: str


@dataclass
class Export:
    """`python -m dsnot_exp.export` with these words."""

    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]

    def __call__(self, *words: object) -> Exported:
        self.monkeypatch.setattr(sys, "argv", ["export", *map(str, words)])
        self.capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = self.capfd.readouterr()
        return Exported(int(ended.value.code or 0), captured.out, captured.err)

    def fine(self, *words: object) -> str:
        done = self(*words)
        assert (done.code, done.err) == (0, "")
        return done.out

    def refused(self, *words: object, code: int = 2) -> str:
        done = self(*words)
        lines = done.err.splitlines()
        assert (done.code, len(lines)) == (code, 1), done.err
        assert lines[0].startswith("dsnot_exp: ")
        return lines[0]


@pytest.fixture
def export(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Export:
    return Export(monkeypatch, capfd)


@pytest.fixture
def saved(command: Command, tmp_path: Path) -> Callable[..., Path]:
    """Runs wanda at 60 % on a toy model, saves it, and returns the run's folder."""

    def run(*words: str, **changes: Any) -> Path:
        given = [*toy_arguments(tmp_path, **changes), "save=true", "refine=none", *words]
        given += [] if any(w.startswith("pattern") for w in words) else ["sparsity=0.6"]
        done = command(*given, run="made")
        assert done.code == 0, done.err
        return done.folder

    return run
