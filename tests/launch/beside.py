"""The same small sweep through Hydra's own launcher and through another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.launch import hydra_setup
from tests.docs.check_docs import examples
from tests.support.command import Command, toy_arguments
from tests.support.waiting import BOUND, listens

FILE = "my_methods.py"  # a plug-in
PLUGIN = (f"plugins={FILE}", "prune=powered")


def needs(launcher: str) -> pytest.MarkDecorator:
    plugin = {"slurm": "submitit"}.get(hydra_setup.EXTRAS[launcher], launcher)
    there = find_spec("hydra_plugins") and find_spec(f"hydra_plugins.hydra_{plugin}_launcher")
    return pytest.mark.skipif(not there, reason=f"pip install .[{hydra_setup.EXTRAS[launcher]}]")


def start(folder: Path, *words: str, **own: str) -> subprocess.Popen[str]:
    """The command in a process group of its own, as a terminal starts it."""
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-m", "dsnot_exp", "-m", *words],
        cwd=folder,
        env=os.environ | path | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=listens,
    )


def results(folder: Path) -> dict[str, dict[str, Any]]:
    files = folder.glob("*/result.json")
    return {file.parent.name: json.loads(file.read_text()) for file in files}


def compare(
    command: Command,
    folder: Path,
    launcher: str,
    sparsity: str,
    *options: str,
    lists: Sequence[str] = (),
    runs: int | None = None,
    **own: str,
) -> int:
    """The jobs of `sparsity`, of which 1.5 is refused, and of further `lists`; returns the threads
    that the others had. Without lists the method is a plug-in's, which the launcher's processes
    have to read, too. runs: how many there are, if there are lists"""
    (folder / FILE).write_text(examples()[FILE])
    words = [*toy_arguments(folder), sparsity, *(lists or PLUGIN)]
    assert command("-m", *words, "sweep=basic", run="").code == 1
    running = start(folder, *words, "sweep=other", f"hydra/launcher={launcher}", *options, **own)
    out, err = running.communicate(timeout=BOUND)
    assert running.returncode == 1, err
    assert "sparsity=1.5: expected a fraction" in out, out + err
    assert "UserWarning" not in err
    expected, found = results(folder / "outputs/basic"), results(folder / "outputs/other")
    assert len(expected) == (sparsity.count(",") if runs is None else runs)
    assert sorted(found) == sorted(expected)
    for name, result in found.items():
        assert lists or result["plugins"]["prune=powered"]["file"] == FILE
        for key in ("masks_sha256", "config_hash", "metrics"):
            assert result[key] == expected[name][key]
    (threads,) = {result["environment"]["threads"] for result in found.values()}
    return threads
