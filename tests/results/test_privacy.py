"""A result names neither its user nor a secret, and other paths stay as they are."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.results.privacy import private
from dsnot_exp.tinyworld import tokenizer as tokenizer_words
from tests.evaluate.test_zero_shot import task_file
from tests.results.test_wandb import inspect
from tests.support.command import toy_arguments

NOT_SHARED = ("dsnot_exp.log", "error.txt")
HF, WANDB, OTHER = "hf_" + "aB3dE5gH" * 4, "0123456789abcdef" * 2 + "01234567", "correct-horse-9"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {"HOME": "/home/al", "HF_TOKEN": HF, "MY_PASSWORD": OTHER}.items():
        monkeypatch.setenv(name, value)
    return "/home/al"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/al", "~"),
        ("/home/al/data/x.txt", "~/data/x.txt"),
        ("dsnot_exp model.path=/home/al/m out=/home/al", "dsnot_exp model.path=~/m out=~"),
        ("[/home/al/a,/home/al/b]", "[~/a,~/b]"),
        ("cannot open '/home/al/a': see file:///home/al/b.", "cannot open '~/a': see file://~/b."),
        ("no folder /home/al.", "no folder ~."),
        ("/home/alice/x", "/home/alice/x"),
        ("/home/al-2/x", "/home/al-2/x"),
        ("/home/al.old/x", "/home/al.old/x"),
        ("/mnt/home/al/x", "/mnt/home/al/x"),
        ("home/al/x", "home/al/x"),
        (f"model.revision={HF}", "model.revision=***"),
        (f"wandb.tags=[{OTHER}]", "wandb.tags=[***]"),
        (f"WANDB_API_KEY={WANDB} sparsity=0.5", "WANDB_API_KEY=*** sparsity=0.5"),
        ("https://me:pass@host/x", "https://***@host/x"),
        ("hf_" + "Zz9" * 8, "***"),
        (f"min_tokens=16 model.revision={WANDB}", f"min_tokens=16 model.revision={WANDB}"),
        ("model.path=/models/hf_llama/tokenizer", "model.path=/models/hf_llama/tokenizer"),
    ],
)  # fmt: skip
def test_texts(home: str, text: str, expected: str) -> None:
    assert private(text) == expected


def test_keys_lists_and_numbers(home: str) -> None:
    tree: dict[str, Any] = {f"{home}/a.txt": {"dense": 1.5, "n": None}, "list": [f"{home}/b", 2]}
    assert private(tree) == {"~/a.txt": {"dense": 1.5, "n": None}, "list": ["~/b", 2]}
    assert list(tree) == [f"{home}/a.txt", "list"]


def test_the_home_folder_is_hidden_behind_a_link_too_and_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("HOME", f"{tmp_path}/link/")
    assert private([f"{tmp_path}/link/a", f"{tmp_path}/real/a"]) == ["~/a", "~/a"]
    monkeypatch.setenv("HOME", "/")
    assert private("/data/x") == "/data/x"


def test_the_files_of_a_run_contain_no_private_data(tmp_path: Path) -> None:
    """Every byte of it, and of W&B's own file also the decoded records."""
    home = tmp_path / "home" / "alice"
    home.mkdir(parents=True)
    tokenizer = tokenizer_words.build()
    words = [w for w in toy_arguments(home, vocab_size=len(tokenizer)) if "wandb" not in w]
    tokenizer.save_pretrained(home / "toy")
    task = task_file(home, "broken", choices=[])
    words += [f"eval.tasks=[{task}]", f"wandb.tags=[{HF},{OTHER}]", "eval.baselines=[dense]"]
    secrets = {"HF_TOKEN": HF, "WANDB_API_KEY": WANDB, "SERVICE_PASSWORD": OTHER}
    own = {"HOME": str(home), "USER": "alice", "LOGNAME": "alice", "HF_HUB_OFFLINE": "1"}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "WANDB_"))}
    done = subprocess.run(
        [sys.executable, "-m", "dsnot_exp", *words, "hydra.run.dir=run"],
        cwd=home,
        env=kept | own | secrets | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr  # the broken task
    run = home / "run"
    result = json.loads((run / "result.json").read_text())
    assert result["config"]["eval"]["tasks"] == ["~/broken.yaml"]
    assert "~/calib.safetensors" in result["command"]
    assert list(result["metrics"]["perplexity"]) == ["~/test.safetensors"]
    (offline,) = run.glob("wandb/offline-run-*")
    pieces = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    pieces = {path: piece for path, piece in pieces.items() if path.name not in NOT_SHARED}
    pieces[offline] = records = inspect(offline).encode()
    for name, piece in pieces.items():
        assert not name.is_symlink()
        for word in (str(tmp_path), "alice", HF, WANDB, OTHER):
            assert word.encode() not in piece, (name, word)
    assert result["masks_sha256"].encode() in records
    assert f'"host":"{platform.node()}"'.encode() not in records
