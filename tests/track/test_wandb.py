"""The offline run, read back with W&B's own reader."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.config import WandbConfig
from dsnot_exp.track import wandb_run
from tests.command import Command, toy_arguments


def inspect(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_the_offline_run_holds_everything(command: Command, tmp_path: Path) -> None:
    words = [w for w in toy_arguments(tmp_path) if not w.startswith("wandb")]
    done = command(*words, "eval.baselines=[dense,pruned]", "wandb.tags=[toy]", "wandb.group=g")
    assert done.code == 0, done.err
    line = re.search(r"wandb +offline; to upload: wandb sync (\S+)", done.out)
    assert line, done.out
    folder, result = Path(line[1]), done.result
    records = [json.loads(r) for r in inspect(folder).splitlines()]
    text = json.dumps(records)
    kinds = {record["type"] for record in records}
    assert {"run", "history", "summary", "exit"} <= kinds
    series = [r for r in records if r["type"] == "history" and "expected_after" in json.dumps(r)]
    assert len(series) >= len(result["metrics"]["reconstruction"]) == 21
    for name in ("masks_sha256", "config_hash", "perplexity", "update_threshold", "errors", "g"):
        assert name in text
    assert result["masks_sha256"] in text
    media = {path.suffix for path in folder.glob("files/media/**/*") if path.is_file()}
    assert media == {".png", ".json"}
    tables = [json.loads(p.read_text()) for p in folder.glob("files/media/table/**/*.json")]
    assert sorted(len(t["data"]) for t in tables) == [3, 21]
    summary = inspect(folder, "--summary")
    refined = result["metrics"]["perplexity"][f"{tmp_path}/test.safetensors"]["refined"]
    assert str(refined)[:8] in summary


def test_the_summary_keeps_numbers_and_texts() -> None:
    tree: dict[str, Any] = {"a": {"b": 1.5, "c": [1, 2]}, "d": "x", "e": None}
    assert wandb_run.summary(tree) == {"a/b": 1.5, "d": "x"}


def test_a_failing_mirror_costs_nothing_but_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def refuse(**_: object) -> None:
        raise OSError("no space left\nsecond line")

    monkeypatch.setattr(wandb, "init", refuse)
    result = {"config": {"sweep": "runs"}}
    line = wandb_run.mirror(WandbConfig(), tmp_path, result, None)
    assert line == "not logged: no space left"
