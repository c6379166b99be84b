"""Killed, interrupted and resumed runs at W&B: offline with W&B's own reader, and online."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.results.tracking import wandb_run
from tests.results.test_wandb import history, inspect, python
from tests.support.command import Command, toy_arguments
from tests.support.forks import Fork, Forks
from tests.support.waiting import ROOT, halt_at, until
from tests.support.wandb_server import KEY, Server, wandb_server

SECOND = "state/refined/00001.json"  # of the second block; written while the third is solved
HALTED, ALL = [0, 1, 2], [0, 1, 2, 3]


def arguments(folder: Path, mode: str) -> list[str]:
    words = [word for word in toy_arguments(folder, num_hidden_layers=4) if "wandb" not in word]
    return [*words, f"wandb={mode}", "track=[wandb,csv]", f"hydra.run.dir={folder}/run"]


def blocks(rows: list[dict[str, Any]]) -> list[int]:
    return [row["block"] for row in rows if "block" in row]


def halted(forks: Forks, folder: Path, mode: str, **environment: str) -> Fork:
    """A run that stands still after its third block, with the second one on disk."""
    fork = forks.start(folder, *arguments(folder, mode), **halt_at(SECOND), **environment)
    until(lambda: (folder / "run" / SECOND).exists() or fork.ended())
    until(lambda: [*folder.glob("run/wandb/*run-*/*.wandb")] or fork.ended())
    return fork


def read(folder: Path) -> list[dict[str, Any]]:
    """The rows of a file that is being written; the reader may meet half a record."""
    try:
        return history(folder)
    except Exception:
        return []


def test_an_offline_run_is_read_while_it_goes_and_after_a_kill(
    forks: Forks, tmp_path: Path
) -> None:
    fork = halted(forks, tmp_path, "offline")
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    until(lambda: blocks(read(folder)) == HALTED)
    fork.kill()
    rows = history(folder)
    assert blocks(rows) == HALTED
    assert '"exit_code"' not in inspect(folder)
    with wandb_server() as server:
        python(server, "wandb", "sync", str(folder), HOME=str(tmp_path))
        (run,) = server.runs.values()
        assert run.state == "failed"
        assert forks.start(tmp_path, *arguments(tmp_path, "offline")).wait() == 0
        folders = set((tmp_path / "run" / "wandb").glob("offline-run-*"))
        (newest,) = folders - {folder}  # the older one was uploaded, so it stays
        assert blocks(history(newest)) == [3]
        python(server, "wandb", "sync", str(newest), HOME=str(tmp_path))
    assert run.state == "finished"
    assert blocks(run.history()) == ALL
    steps = [row["_step"] for row in run.history()]
    assert steps == list(range(len(steps)))
    lines = (tmp_path / "run" / "progress.csv").read_text().splitlines()
    errors = [line.split(",")[3] for line in lines if ",error/mlp.up_proj," in line]
    assert errors == ["0", "1", "2", "3"]


def test_a_resumed_offline_run_is_whole_if_nothing_was_uploaded(
    forks: Forks, tmp_path: Path
) -> None:
    halted(forks, tmp_path, "offline").kill()
    assert forks.start(tmp_path, *arguments(tmp_path, "offline")).wait() == 0
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    assert blocks(history(folder)) == ALL
    assert json.loads((folder / "files" / "result.json").read_text())["resumed"] == 1


def found(server: Server, folder: Path) -> dict[str, str]:
    """The environment of a fork that finds the server, and sends at once."""
    return server.environment | {"HOME": str(folder), "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1"}


def test_an_online_run_exists_from_its_start_and_goes_on_after_a_kill(
    forks: Forks, tmp_path: Path
) -> None:
    with wandb_server() as server:
        fork = halted(forks, tmp_path, "online", **found(server, tmp_path))
        until(lambda: [run for run in server.runs.values() if blocks(run.history()) == HALTED])
        (run,) = server.runs.values()
        assert run.state == "running"
        assert run.attributes["tags"] == ["toy", "wanda", "dsnot", "unstructured"]
        fork.kill()
        assert run.state == "running"  # W&B itself says `crashed` after some minutes of silence
        again = forks.start(tmp_path, *arguments(tmp_path, "online"), **found(server, tmp_path))
        assert again.wait() == 0, again.err
        assert [*server.runs.values()] == [run]
    assert run.state == "finished"
    assert blocks(run.history()) == ALL
    steps = [row["_step"] for row in run.history()]
    assert steps == list(range(len(steps)))


# The command, whose evaluation ends with the error that the first word names.
FAILING = """
import builtins, runpy, sys
from dsnot_exp.evaluate.suite import Suite
error = getattr(builtins, sys.argv.pop(1))
def fail(*_):
    raise error("on purpose")
Suite.__call__ = fail
runpy.run_module("dsnot_exp", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("mode", "error", "code"),
    [("offline", "KeyboardInterrupt", 130), ("online", "ValueError", 1)],
)
def test_a_run_that_fails_ends_with_its_exit_code(
    tmp_path: Path, mode: str, error: str, code: int
) -> None:
    with wandb_server() as server:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        done = subprocess.run(
            [sys.executable, "-c", FAILING, error, *arguments(tmp_path, mode)],
            cwd=tmp_path,
            env=kept | server.environment | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
            timeout=300,
        )
    assert done.returncode == code
    if mode == "online":
        (run,) = server.runs.values()
        assert (run.state, run.exit_code) == ("failed", code)
        assert blocks(run.history()) == ALL
    else:
        (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
        assert f'"exit_code":{code}' in inspect(folder)
        assert blocks(history(folder)) == ALL
        assert not list(folder.glob("logs"))  # it has paths


def test_a_run_without_a_server_goes_on_offline(forks: Forks, tmp_path: Path) -> None:
    words = arguments(tmp_path, "online")
    fork = forks.start(
        tmp_path, *words, HOME=str(tmp_path), WANDB_API_KEY="", NETRC=f"{tmp_path}/x"
    )
    assert fork.wait() == 0, fork.err
    assert "wandb     goes on offline: not logged in; run wandb login" in fork.out
    line = re.search(r"wandb +offline; to upload: wandb sync (\S+)", fork.out)
    assert line
    assert blocks(history(Path(line[1]))) == ALL


def test_a_server_that_does_not_answer_costs_a_short_wait(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_run, "ANSWER_S", 1.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        own = {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}
        for name, value in (own | {"HOME": str(tmp_path)}).items():
            monkeypatch.setenv(name, value)
        done = command(*arguments(tmp_path, "online"))
        import wandb

        wandb.teardown()  # its process knows this address
    assert done.code == 0, done.err
    assert "wandb     goes on offline: " in done.out
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    assert blocks(history(folder)) == ALL
    assert not [*(tmp_path / "run" / "wandb").glob("*/logs")]


def test_one_process_of_a_group_is_tracked(forks: Forks, tmp_path: Path) -> None:
    group = forks.group(2, tmp_path, *arguments(tmp_path, "offline"))
    assert [process.wait() for process in group] == [0, 0], [process.err for process in group]
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    assert blocks(history(folder)) == ALL
    assert "".join(process.out for process in group).count("to upload: wandb sync") == 1
