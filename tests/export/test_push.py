"""Pushes to a hub on the loopback: one commit, no other model overwritten, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from transformers import AutoModelForCausalLM

import dsnot_exp
from tests.export.conftest import Export
from tests.export.test_export import same
from tests.support.hub_server import NARROW, TOKEN, Hub, Repository
from tests.support.waiting import ROOT

Saved = Callable[..., Path]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "others").mkdir()
    (tmp_path / "others/model.safetensors").write_bytes(b"theirs")
    (tmp_path / "others/config.json").write_text("{}")
    hub = Hub([Repository("me/theirs", tmp_path / "others", "0" * 40)], tmp_path / "uploads")
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield hub
    hub.stop()


def test_a_push_uploads_the_folder(hub: Hub, export: Export, saved: Saved) -> None:
    run = saved()
    done = export(run, "--format", "bitmask", "--push", "me/sparse", "--private")
    assert done.code == 0, done.err
    assert f"pushed    {hub.url}/me/sparse (commit " in done.out
    there, here = hub.newest("me/sparse"), run / "export/bitmask"
    assert there is not None
    assert {f.name for f in there.iterdir()} == {f.name for f in here.iterdir()}
    assert all((there / f.name).read_bytes() == f.read_bytes() for f in here.iterdir())
    assert 'load_packed("me/sparse")' in (there / "README.md").read_text()
    assert hub.uploads is not None
    assert hub.uploads.private == {"me/sparse": True}
    same(AutoModelForCausalLM.from_pretrained(run / "model"), dsnot_exp.load_packed(there))
    commits = sum(line.endswith("/commit/main") for line in hub.requests)
    assert commits == 1


def test_weights_of_an_earlier_push_do_not_stay(hub: Hub, export: Export, saved: Saved) -> None:
    run = saved()
    for form in ("plain", "bitmask"):
        assert export(run, "--format", form, "--push", "me/sparse").code == 0
    there = hub.newest("me/sparse")
    assert there is not None
    assert not (there / "model.safetensors").exists()
    assert (there / "packed.json").exists()


def test_refusals_come_before_anything_is_written(
    hub: Hub, export: Export, saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = saved()

    def push(name: str, *words: str, code: int = 2) -> str:
        line = export.refused(run, "--push", name, *words, code=code)
        assert not (run / "export").exists()
        return line

    assert "no id of a repository" in push("a/b/c")
    assert "a model that dsnot_exp has not made; choose another name" in push("me/theirs")
    assert "is public; make it private" in push("me/theirs", "--private")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "rejects your token; log in again with `hf auth login`" in push("me/sparse")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    assert "no answer from http://127.0.0.1:9" in push("me/sparse", code=1)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in push("me/sparse")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
    assert "you are not logged in" in push("me/sparse")


def test_a_token_that_may_not_write(
    hub: Hub, export: Export, saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = saved()
    monkeypatch.setenv("HF_TOKEN", NARROW)
    line = export.refused(run, "--push", "me/sparse")
    assert "your token may not write there" in line


def test_a_killed_push_is_completed_by_the_next(hub: Hub, saved: Saved, tmp_path: Path) -> None:
    run = saved()
    own = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    own |= {"HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "dsnot_exp.export", str(run), "--push", "me/sparse"]

    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            words, cwd=ROOT, env=os.environ | own, stdout=pipe, stderr=pipe, text=True
        )

    killed = start()

    def kill(route: str) -> None:
        if route == "commit":
            os.kill(killed.pid, signal.SIGKILL)
            killed.wait()

    assert hub.uploads is not None
    commit = hub.uploads._commit
    hub.uploads.on_request = kill
    hub.uploads._commit = lambda *_, **__: {}  # type: ignore[method-assign]
    killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL
    there = hub.newest("me/sparse")
    assert there is not None
    assert [*there.iterdir()] == []  # no half of a model
    hub.uploads._commit = commit  # type: ignore[method-assign]
    hub.uploads.on_request = lambda route: None
    hub.requests.clear()
    again = start()
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert "already exported" in out
    assert not any(line.startswith("PUT") for line in hub.requests)  # the weights were there
    there = hub.newest("me/sparse")
    assert there is not None
    assert json.loads((there / "config.json").read_text())["dsnot_exp"]["prune"] == "wanda"
    assert (there / "model.safetensors").read_bytes() == (
        run / "model/model.safetensors"
    ).read_bytes()
