"""Output that nobody reads: closed pipes, full disks, closed streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dsnot_exp.utils.output import steady_output
from tests.support.command import Command, toy_arguments

ROOT = Path(__file__).parents[2]


def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("place", ["pipe", "/dev/full"])
def test_printing_goes_on_when_nothing_can_be_written(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = closed_pipe() if place == "pipe" else os.open(place, os.O_WRONLY)
    with os.fdopen(number, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with steady_output():
            for _ in range(3):
                print("x" * 10_000)
        assert sys.stdout is stream
        stream.write("what is left in the buffer")  # is discarded when the stream closes


def test_a_run_whose_reader_is_gone_writes_its_result(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*toy_arguments(tmp_path), "eval.perplexity=[]", "prune=magnitude", "refine=none"]
    with os.fdopen(closed_pipe(), "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        done = command(*words)
    assert (done.code, done.err) == (0, "")
    assert done.result["status"] == "finished"
    assert "sparsity  0.5" in (done.folder / "dsnot_exp.log").read_text()


def test_what_can_be_written_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with steady_output(), steady_output():
        print("seen")
        print("too", file=sys.stderr)
    assert capsys.readouterr() == ("seen\n", "too\n")


CLOSED = """
import os, sys
from dsnot_exp.utils.output import open_missing_streams
open_missing_streams()
print("lost"); print("lost", file=sys.stderr); sys.stdin.read()
open(sys.argv[1], "w").write(f"{os.open(sys.argv[1], os.O_RDONLY) > 2}")
"""


def test_closed_streams_do_not_lend_their_numbers_to_files(tmp_path: Path) -> None:
    words = " ".join([sys.executable, "-c", '"$CODE"', str(tmp_path / "file")])
    environment = os.environ | {"CODE": CLOSED, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", f"{words} <&- >&- 2>&-"], env=environment, check=False)
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == "True"
