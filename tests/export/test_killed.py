"""A killed export leaves what was there, and the next one completes it; two at once take turns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

import dsnot_exp
from dsnot_exp.export.destination import MARK, written_aside
from dsnot_exp.utils.errors import RunError
from tests.export.conftest import Export
from tests.export.test_export import same
from tests.support.waiting import HALTING, ROOT, halt_at, listens, until

Saved = Callable[..., Path]
RUN = {"config_hash": "0123456789abcdef"}


def start(*words: object, **environment: str) -> subprocess.Popen[str]:
    own = {"PYTHONPATH": f"{HALTING.parent}:{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "dsnot_exp.export", *map(str, words)],
        cwd=ROOT, env=os.environ | own | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=listens,
    )  # fmt: skip


def test_killed_while_another_waits(export: Export, saved: Saved) -> None:
    run = saved()
    export.fine(run, "--format", "plain", "--out", run / "out")
    before = {file.name: file.read_bytes() for file in (run / "out").iterdir()}
    words = [run, "--format", "bitmask", "--out", run / "out"]
    first = start(*words, **halt_at("packed-00001.safetensors"))
    until(lambda: [*run.glob(".out.*/packed-00001.safetensors")], first)
    second = start(*words)
    assert second.stdout is not None
    assert "waiting for it" in second.stdout.readline()
    assert {file.name: file.read_bytes() for file in (run / "out").iterdir()} == before
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    assert f"exported  {run / 'out'} (bitmask)" in out
    assert [*run.glob(".out.*")] == []
    same(AutoModelForCausalLM.from_pretrained(run / "model"), dsnot_exp.load_packed(run / "out"))


def test_interrupted_by_ctrl_c(saved: Saved) -> None:
    run = saved()
    process = start(run, "--format", "bitmask", **halt_at("packed.json"))
    until(lambda: [*run.glob("export/.bitmask.*/packed.json")], process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()) == (
        130, ["dsnot_exp: interrupted; run the same command again"],
    )  # fmt: skip
    assert [*(run / "export").iterdir()] == []


def test_killed_between_the_two_renames(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with written_aside(out, RUN) as folder:
        (folder / "first").touch()
    out.rename(tmp_path / ".out.01234567.old")  # and killed here
    (tmp_path / ".out.01234567.abc").mkdir()  # the new one, which had not its name yet
    with pytest.raises(ZeroDivisionError), written_aside(out, RUN):
        raise ZeroDivisionError
    assert (out / "first").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_new_export_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with written_aside(tmp_path / "out", RUN) as folder:
            (folder / name).touch()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"second", MARK}
    assert json.loads((tmp_path / "out" / MARK).read_text()) == RUN


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    with written_aside(tmp_path / "out", RUN) as folder:
        (folder / "first").touch()
    full = OSError(28, "No space left on device", "packed-00001.safetensors")
    with (
        pytest.raises(RunError, match="No space left") as told,
        written_aside(tmp_path / "out", RUN),
    ):
        raise full
    assert "what was there is unchanged" in str(told.value)
    assert (tmp_path / "out/first").exists()


def test_the_same_export_again_is_not_written_again(export: Export, saved: Saved) -> None:
    run = saved()
    export.fine(run, "--format", "bitmask")
    file = run / "export/bitmask/packed-00001.safetensors"
    before = file.stat().st_mtime_ns
    assert "already exported" in export.fine(run, "--format", "bitmask")
    assert file.stat().st_mtime_ns == before
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"resumed": 7}))  # a rerun
    assert "already exported" not in export.fine(run, "--format", "bitmask")
