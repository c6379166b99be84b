from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dsnot_exp.report.__main__ import main
from tests.report.folders import Report


@pytest.fixture
def report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Path], Report]:
    """`python -m dsnot_exp.report FOLDER`."""

    def run(folder: Path) -> Report:
        monkeypatch.setattr(sys, "argv", ["report", str(folder)])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return Report(int(exit_.value.code or 0), captured.out, captured.err, folder / "report")

    return run
