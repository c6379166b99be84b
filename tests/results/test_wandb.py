"""The offline run, read back with W&B's own reader."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.config import WandbConfig
from dsnot_exp.results import wandb_mirror
from tests.support.command import Command, toy_arguments
from tests.support.wandb_server import Server, wandb_server

KEY = "0123456789" * 4


def inspect(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


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


def python(server: Server, *words: str, **own: str) -> None:
    """A command in a process of its own that finds this server."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    found = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-m", *words],
        env=kept | found | {"PYTHONPATH": str(Path(__file__).parents[2])} | own,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def test_an_offline_sweep_is_synced_as_one_group(command: Command, tmp_path: Path) -> None:
    """By `wandb sync` as it is. A rerun takes the place of its run."""
    words = [w for w in toy_arguments(tmp_path) if "wandb" not in w]
    sweep = ["-m", *words, "sweep=s", "sparsity=0.5,0.6"]
    assert command(*sweep, run="").code == 0
    assert command(*sweep, "rerun=true", run="").code == 0
    offline = list(tmp_path.glob("outputs/s/*/wandb/offline-run-*"))
    assert len(offline) == 2
    with wandb_server() as server:
        python(server, "wandb", "sync", *map(str, offline), HOME=str(tmp_path))
    results = [json.loads(p.read_text()) for p in tmp_path.glob("outputs/s/*/result.json")]
    assert set(server.runs) == {wandb_mirror.wandb_id(result) for result in results}
    for result in results:
        run = server.runs[wandb_mirror.wandb_id(result)]
        assert run.complete
        assert run.attributes["groupName"] == "s"
        assert run.attributes["displayName"].endswith(result["config_hash"][:8])
        config = json.loads(run.attributes["config"])
        assert config["sparsity"]["value"] == result["config"]["sparsity"]
        (summary,) = run.parsed("wandb-summary.json")
        shared = wandb_mirror.summary(
            {k: result[k] for k in ("metrics", "timing_s", "masks_sha256")}
        )
        assert shared.items() <= summary.items()
        assert len(run.parsed("wandb-history.jsonl")) == 21
        kinds = [name.split("/")[1] for name in run.files if name.startswith("media/")]
        assert sorted(kinds) == ["images", "table", "table"]
    assert KEY.encode() not in b"".join(server.bodies)


def test_an_online_rerun_resumes(tmp_path: Path) -> None:
    home = tmp_path / "home" / "alice"
    home.mkdir(parents=True)
    words = [w for w in toy_arguments(home) if "wandb" not in w] + ["wandb=online", "rerun=true"]
    own = {"HOME": str(home), "USER": "alice", "HF_TOKEN": "hf_" + "aB3dE5gH" * 4}
    with wandb_server() as server:
        for _ in range(2):
            python(server, "dsnot_exp", *words, f"hydra.run.dir={home}/run", **own)
    (run,) = server.runs.values()
    layers = [row for row in run.parsed("wandb-history.jsonl") if "layer/swaps" in row]
    assert [row["_step"] for row in layers] == list(range(21))
    assert run.attributes["program"] == "dsnot_exp"
    sent = b"".join(server.bodies)
    for word in (b"alice", str(tmp_path).encode(), own["HF_TOKEN"].encode(), KEY.encode()):
        assert word not in sent


def test_the_summary_keeps_numbers_and_texts() -> None:
    tree: dict[str, Any] = {"a": {"b": 1.5, "c": [1, 2]}, "d": "x", "e": None}
    assert wandb_mirror.summary(tree) == {"a/b": 1.5, "d": "x"}


def test_a_wandb_failure_is_reported_and_does_not_fail_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def refuse(**_: object) -> None:
        raise OSError("no space left\nsecond line")

    monkeypatch.setattr(wandb, "init", refuse)
    result = {"config": {"sweep": "runs", "wandb": asdict(WandbConfig())}, "config_hash": "h"}
    line = wandb_mirror.mirror(WandbConfig(), tmp_path, result, None)
    assert line == "not logged: no space left"
