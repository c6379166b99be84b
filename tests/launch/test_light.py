"""A wrong option, a version, a listing and a completion are answered without the slow imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dsnot_exp.launch import completion

ROOT = Path(__file__).parents[2]
SLOW = {"torch", "transformers", "datasets", "lm_eval", "peft", "wandb", "matplotlib", "pandas"}
# Every command in a fork of a process that has imported nothing but the command line.
CODE = """
import json, os, runpy, sys
import dsnot_exp.launch.command
for words in json.loads(sys.argv[1]):
    if os.fork() == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stdout, out = open(os.devnull, "w"), sys.stdout
        sys.argv[1:] = words
        try:
            runpy.run_module("dsnot_exp", run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            print(json.dumps([ended.code, sorted(sys.modules)]), file=out, flush=True)
        os._exit(0)
    os.wait()
"""
COMMANDS = {
    "sparsity=1.5": 2,
    "prune=wnada": 2,
    "refine.grow=most": 2,
    "finetune=lora finetune.rank=0": 2,
    "calib.dataset=missing.txt": 2,
    "hydra.run.dir=run device=tpu": 2,
    "hydra.run.dir=run model=smollm2-q4": 2,
    "-m sparsity=1.5,2": 2,
    "--cfg job": 0,
    "--help": 0,
    "--version": 0,
    "-sc query=bash": 0,
    "-sc install=bash": 0,
}


def test_nothing_slow_is_imported_before_the_options_are_checked(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COMP_LINE": "dsnot_exp prune=w"}
    environment["DSNOT_EXP_CACHE"] = str(tmp_path / "cache")  # without smollm2-q4
    given = json.dumps([words.split() for words in COMMANDS])
    process = [sys.executable, "-c", CODE, given]
    done = subprocess.run(
        process, cwd=tmp_path, env=environment, text=True, capture_output=True, check=True
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [code for code, _ in answers] == list(COMMANDS.values())
    for words, (_, modules) in zip(COMMANDS, answers, strict=True):
        assert not SLOW & {*modules}, words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("dsnot_exp prune=w", "dsnot_exp prune=w"),
        ("python -m dsnot_exp prune=w", "dsnot_exp prune=w"),
        ("python3 -m dsnot_exp a=1 -m --cfg job ref", "dsnot_exp a=1 job ref"),
        ("dsnot_exp ", "dsnot_exp "),
    ],
)
def test_a_line_to_complete_keeps_its_options(
    line: str, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    completion.hide_flags()
    assert os.environ["COMP_LINE"] == left


def test_bash_completes_both_ways_to_call_the_command() -> None:
    """With a function that stands for both commands and answers with the line to complete."""
    script = f"""{completion.INSTALL}
    dsnot_exp() {{ echo "$*|$COMP_LINE" | tr ' ' '_'; }}
    python() {{ echo "$*|$COMP_LINE" | tr ' ' '_'; }}
    ask() {{ COMP_LINE="$*" COMP_WORDS=() COMP_CWORD=0 COMPREPLY=()
            _dsnot_exp_completion "$1"; echo "${{COMPREPLY[*]}}"; }}
    ask dsnot_exp prune=w; ask python -m dsnot_exp prune=w; ask python other.py x
    """
    done = subprocess.run(["bash", "-c", script], text=True, capture_output=True, check=True)
    assert done.stdout.split("\n")[:3] == [
        "-sc_query=bash|dsnot_exp_prune=w",
        "-m_dsnot_exp_-sc_query=bash|python_-m_dsnot_exp_prune=w",
        "",
    ]
