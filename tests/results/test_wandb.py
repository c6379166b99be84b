"""Runs at W&B: offline files read with W&B's own reader, and online on a server of this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.results.tracking import wandb_words
from dsnot_exp.results.tracking.wandb_words import job_type, tags, wandb_id
from tests.support.command import Command, toy_arguments
from tests.support.wandb_server import KEY, Server, wandb_server

KINDS = {
    f"{part}_proj"
    for part in (
        "self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down"
    )
}  # fmt: skip


def inspect(folder: Path, *options: str) -> str:
    """What W&B's own reader finds in an offline run."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in inspect(folder).splitlines()]


def history(folder: Path) -> list[dict[str, Any]]:
    return [r["history"]["item"] for r in records(folder) if r["type"] == "history"]


def axes(folder: Path) -> dict[str, str]:
    """By name of a metric, the one that it is drawn against."""
    found = [r["metric"] for r in records(folder) if r["type"] == "metric"]
    return {m["name"].replace("\\", ""): m["step_metric"] for m in found if "step_metric" in m}


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for record in records(folder):
        if record["type"] == "summary":
            found |= record["summary"]["update"]
    return found


def test_the_offline_run_holds_everything(command: Command, tmp_path: Path) -> None:
    words = [w for w in toy_arguments(tmp_path) if not w.startswith("wandb")]
    done = command(*words, "eval.baselines=[dense,pruned]", "wandb.tags=[toy]", "wandb.group=g")
    assert done.code == 0, done.err
    line = re.search(r"wandb +offline; to upload: wandb sync (\S+)", done.out)
    assert line, done.out
    folder, result = Path(line[1]), done.result
    rows, text = history(folder), inspect(folder)
    for prefix in ("", "pruned/"):
        blocks = [row for row in rows if f"{prefix}block" in row]
        assert [row[f"{prefix}block"] for row in blocks] == [0, 1, 2]
        names = {f"{prefix}error/{kind}" for kind in KINDS}
        assert all(names <= row.keys() for row in blocks)
        assert {axes(folder)[name] for name in names} == {f"{prefix}block"}
        assert all({"timing_s/total", "memory/peak_rss_bytes"} <= row.keys() for row in blocks)
    layers = {row["layer"]: row for row in result["metrics"]["reconstruction"]}
    up = layers["model.layers.1.mlp.up_proj"]
    (row,) = [row for row in rows if row.get("block") == 1]
    for name, field in (("error", "relative_after"), ("error_before", "relative_before")):
        assert row[f"{name}/mlp.up_proj"] == pytest.approx(up[field])
    (name,) = result["metrics"]["perplexity"]
    measured = [key for row in rows for key in row if key.startswith("metrics/")]
    assert measured == [f"metrics/perplexity/{name}/{s}" for s in ("dense", "pruned", "refined")]
    closing = summary(folder)
    assert wandb_words.summary(result).items() <= closing.items()
    words = ("model.layers", "error/", "swaps/", "notes")
    assert not [key for key in closing if any(word in key for word in words)]
    assert json.loads((folder / "files" / "result.json").read_text()) == result
    (run,) = [record["run"] for record in records(folder) if record["type"] == "run"]
    assert run["tags"] == ["toy", "wanda", "dsnot", "unstructured"]
    assert run["job_type"] == "refine"
    assert run["run_group"] == "g"
    assert '"exit_code":0' in text
    media = {path.suffix for path in folder.glob("files/media/**/*") if path.is_file()}
    assert media == {".png", ".json"}
    tables = [json.loads(p.read_text()) for p in folder.glob("files/media/table/**/*.json")]
    assert sorted(len(t["data"]) for t in tables) == [3, 21]


def python(server: Server, *words: str, code: int = 0, **own: str) -> str:
    """A command in a process of its own that finds this server."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    found = server.environment | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=own.get("HOME"),  # an agent writes into the current folder
        env=kept | found | own,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def identity(result: dict[str, Any]) -> str:
    return wandb_id(result["config"]["sweep"], result["config_hash"])


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
    assert set(server.runs) == {identity(result) for result in results}
    for result in results:
        run = server.runs[identity(result)]
        assert run.state == "finished"
        assert run.attributes["groupName"] == "s"
        assert run.attributes["displayName"].endswith(result["config_hash"][:8])
        config = json.loads(run.attributes["config"])
        assert config["sparsity"]["value"] == result["config"]["sparsity"]
        (closing,) = run.parsed("wandb-summary.json")
        assert wandb_words.summary(result).items() <= closing.items()
        assert [row["block"] for row in run.history() if "block" in row] == [0, 1, 2]
        kinds = [name.split("/")[1] for name in run.files if name.startswith("media/")]
        assert sorted(kinds) == ["images", "table", "table"]
        assert json.loads(run.files["result.json"]) == result
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
    rows = run.history()
    assert [row["block"] for row in rows if "block" in row] == [0, 1, 2]
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    assert run.attributes["program"] == "dsnot_exp"
    assert run.attributes["jobType"] == "refine"
    assert run.attributes["tags"] == ["toy", "wanda", "dsnot", "unstructured"]
    sent = b"".join(server.bodies)
    for word in (b"alice", str(tmp_path).encode(), own["HF_TOKEN"].encode(), KEY.encode()):
        assert word not in sent


def test_the_summary_keeps_numbers_and_texts_of_no_single_layer() -> None:
    tree: dict[str, Any] = {"a": {"b": 1.5, "c": [1, 2]}, "d": "x", "e": None}
    layers = {"notes": {"model.layers.0": "x"}, "sparsity": {"achieved": 0.5, "layers": {"a": 1}}}
    config = {"prune": {"name": "wanda"}, "refine": {"name": "dsnot"}}
    found = wandb_words.summary(tree | layers | {"config": config})
    assert found == {"a/b": 1.5, "d": "x", "sparsity/achieved": 0.5, "method": "Wanda + DSnoT"}


@pytest.mark.parametrize(
    ("methods", "kind", "expected"),
    [
        ({"prune": "none"}, "evaluate", ["mine", "SmolLM2-135M"]),
        ({}, "prune", ["mine", "SmolLM2-135M", "wanda", "2:4"]),
        ({"refine": "dsnot"}, "refine", ["mine", "SmolLM2-135M", "wanda", "dsnot", "2:4"]),
        (
            {"finetune": "lora", "allocate": "owl"},
            "finetune",
            ["mine", "SmolLM2-135M", "wanda", "owl", "lora", "2:4"],
        ),
    ],
)
def test_tags_and_job_type(methods: dict[str, str], kind: str, expected: list[str]) -> None:
    names = {"prune": "wanda", "refine": "none", "allocate": "uniform", "reconstruct": "none"}
    groups = names | {"finetune": "none"} | methods
    config: dict[str, Any] = {group: {"name": name} for group, name in groups.items()}
    config |= {"model": {"name": "hub", "path": "HuggingFaceTB/SmolLM2-135M"}, "pattern": "2:4"}
    config["wandb"] = {"tags": ["mine"]}
    assert (job_type(config), tags(config)) == (kind, expected)
    config["model"] = {"name": "m" * 99, "path": "a/b"}
    assert tags(config)[1] == "m" * 64
