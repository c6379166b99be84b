from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dsnot_exp.runs.__main__ import main


@dataclass(frozen=True)
class Printed:
    code: int
    out: str
    err: str


Runs = Callable[..., Printed]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Runs:
    """`runs("list", "--json")` is `python -m dsnot_exp.runs list --json`, printed into a pipe."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*words: str | Path) -> Printed:
        monkeypatch.setattr(sys, "argv", ["runs", *map(str, words)])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capfd.readouterr()
        return Printed(int(exit_.value.code or 0), captured.out, captured.err)

    return call
