"""The rooms of the package: imports run downwards, and the report starts without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_imports_between_rooms_run_downwards_and_in_no_circle() -> None:
    """In a process of its own: the linter turns off the loggers that exist already."""
    linter = str(Path(sys.executable).with_name("lint-imports"))
    done = subprocess.run([linter, "--no-cache"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_the_top_level_is_a_table_of_contents() -> None:
    files = {path.name for path in (ROOT / "dsnot_exp").glob("*.py")}
    assert files <= {"__init__.py", "__main__.py", "api.py", "config.py"}


@pytest.mark.parametrize("room", ["report", "runs"])
def test_a_reader_of_results_starts_without_torch_and_transformers(room: str) -> None:
    heavy = "{'torch', 'transformers', 'lm_eval', 'datasets'}"
    code = f"import sys, dsnot_exp.{room}.__main__; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
