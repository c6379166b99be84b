"""Models by their id: the real command, against a hub on the loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dsnot_exp.tinyworld import tokenizer as words
from tests.families import build
from tests.hub_server import NARROW, TOKEN, Hub, Repository

COMMIT = "5eed" * 10
# The command as often as asked for, each time in a fork: torch and transformers import slowly.
COMMANDS = """
import json, os, runpy, sys
import dsnot_exp.experiment, matplotlib.pyplot
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast
for line in sys.stdin:
    folder, arguments, environment = json.loads(line)
    if os.fork() == 0:
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"{folder}/{name}", os.O_CREAT | os.O_WRONLY), stream)
        os.environ.update(environment)
        sys.argv[1:] = arguments
        runpy.run_module("dsnot_exp", run_name="__main__", alter_sys=True)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""
CODE = """
import os
from transformers import LlamaConfig, LlamaForCausalLM

open(os.environ["MARKER"], "w").close()

class Config(LlamaConfig):
    model_type = "custom"

class Model(LlamaForCausalLM):
    config_class = Config
"""


@dataclass(frozen=True)
class Outcome:
    """What one run of the command left."""

    code: int
    lines: list[str]  # of stderr
    result: dict[str, Any] | None
    marked: bool  # the repository's own code was executed

    def masks(self) -> str:
        """The hash of the masks of a run that finished, quietly, on the right commit."""
        assert (self.code, self.lines) == (0, [])
        assert self.result is not None
        assert self.result["status"] == "finished"
        assert self.result["model"]["revision"] == COMMIT
        return self.result["masks_sha256"]

    def refuses(self, code: int, *words: str) -> None:
        """It failed with this exit code and with one line that holds all these words."""
        assert len(self.lines) == 1, self.lines
        assert [word for word in words if word not in self.lines[0]] == [], self.lines[0]
        assert (self.code, self.result) == (code, None)


class Shell:
    """Runs the command with one hub and one cache, which are settled when the libraries load."""

    def __init__(self, place: Path, hub: Hub, **environment: str) -> None:
        self.place, self.runs = place, 0
        place.mkdir()
        (place / "text.txt").write_text(" ".join(words.vocabulary()))
        save_file({"input_ids": torch.arange(64).reshape(2, 32)}, place / "ids.safetensors")
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        own = {"HF_ENDPOINT": hub.url, "HF_HOME": f"{place}/cache", "HF_HUB_OFFLINE": "0"}
        calm = {"NO_PROXY": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMANDS],
            cwd=Path(__file__).parents[2],
            env=kept | own | calm | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, model: str, *arguments: str, **environment: str) -> Outcome:
        """Calibrate on text, for which the tokenizer is needed, and evaluate on tokens."""
        self.runs += 1
        folder = self.place / f"{self.runs}"
        folder.mkdir()
        command = [
            "model=hub", f"model.path={model}", "sparsity=0.5", "refine=none",
            f"calib.dataset={self.place}/text.txt", "calib.samples=2", "calib.seqlen=16",
            f"eval.perplexity=[{self.place}/ids.safetensors]", "eval.seqlen=16",
            "wandb.mode=disabled", f"hydra.run.dir={folder}/run", *arguments,
        ]  # fmt: skip
        environment["MARKER"] = f"{folder}/marker"
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps((str(folder), command, environment)), file=self.process.stdin, flush=True)
        code = int(self.process.stdout.readline())
        lines = (folder / "stderr").read_text().splitlines()
        result = folder / "run" / "result.json"
        found = json.loads(result.read_text()) if result.exists() else None
        return Outcome(code, lines, found, (folder / "marker").exists())

    def close(self) -> None:
        self.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A toy in every state that a repository can be in."""
    place = tmp_path_factory.mktemp("repositories")
    tokenizer = words.build()
    toy = place / "toy"
    build("llama", vocab_size=len(tokenizer), num_hidden_layers=1).save_pretrained(toy)
    tokenizer.save_pretrained(toy)
    pickles = shutil.copytree(toy, place / "pickles")
    torch.save(load_file(pickles / "model.safetensors"), pickles / "pytorch_model.bin")
    (pickles / "model.safetensors").unlink()
    code = shutil.copytree(toy, place / "code")
    config = json.loads((toy / "config.json").read_text()) | {
        "model_type": "custom",
        "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"},
    }
    (code / "config.json").write_text(json.dumps(config))
    (code / "code.py").write_text(CODE)
    empty = shutil.copytree(toy, place / "empty")
    (empty / "config.json").unlink()
    folders = {"toy": toy, "later": toy, "pickles": pickles, "code": code, "empty": empty}
    hub = Hub(
        [
            *(Repository(f"acme/{name}", folder, COMMIT) for name, folder in folders.items()),
            *(Repository(f"acme/{name}", toy, COMMIT, gated=True) for name in ("gated", "members")),
        ]
    )
    yield hub
    hub.stop()


@pytest.fixture(scope="module")
def shell(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("shell") / "online", hub)
    yield shell
    shell.close()


@pytest.fixture(scope="module")
def downloaded(shell: Shell) -> Outcome:
    """The toy is in the cache from here on."""
    return shell("acme/toy")


def test_downloads_every_file_once(hub: Hub, downloaded: Outcome) -> None:
    assert downloaded.masks()
    files = ["config.json", "generation_config.json", "model.safetensors"]
    tokenizer = ["tokenizer.json", "tokenizer_config.json"]
    assert hub.downloaded("acme/toy") == dict.fromkeys(files + tokenizer, 1)


def test_the_cache_serves_while_the_hub_is_down(
    hub: Hub, shell: Shell, downloaded: Outcome
) -> None:
    hub.stop()
    try:
        cached, absent = shell("acme/toy"), shell("acme/later")
    finally:
        hub.start()
    assert cached.masks() == downloaded.masks()
    absent.refuses(1, "model.path=acme/later", hub.url, "cannot be reached", "HF_ENDPOINT")


def test_offline_asks_the_hub_for_nothing(hub: Hub, shell: Shell, downloaded: Outcome) -> None:
    cache, asked = f"{shell.place}/cache", len(hub.requests)
    offline = Shell(shell.place / "offline", hub, HF_HOME=cache, HF_HUB_OFFLINE="1")
    assert offline("acme/toy").masks() == downloaded.masks()
    offline("acme/later").refuses(1, "model.path=acme/later", "HF_HUB_OFFLINE is set")
    offline.close()
    assert len(hub.requests) == asked


def test_unknown_id(hub: Hub, shell: Shell) -> None:
    shell("acme/toi").refuses(2, "model.path=acme/toi", hub.url, "spelling", "hf auth login")


def test_unknown_revision(shell: Shell) -> None:
    shell("acme/toy", "model.revision=v2").refuses(2, "model.revision=v2", "acme/toy")


def test_gated(hub: Hub, shell: Shell) -> None:
    place = f"{hub.url}/acme/gated"
    shell("acme/gated").refuses(2, "model.path=acme/gated", place, "hf auth login", "HF_TOKEN")


def test_gated_with_a_token(shell: Shell, downloaded: Outcome) -> None:
    shell("acme/members", HF_TOKEN="hf_expired").refuses(2, "acme/members", "refuses your token")
    shell("acme/members", HF_TOKEN=NARROW).refuses(1, "acme/members", "answers 403 (Enable access")
    assert shell("acme/members", HF_TOKEN=TOKEN).masks() == downloaded.masks()


def test_pickles_only_when_trusted(hub: Hub, shell: Shell, downloaded: Outcome) -> None:
    shell("acme/pickles").refuses(2, "model.path=acme/pickles", "model.use_safetensors=false")
    assert hub.downloaded("acme/pickles")["pytorch_model.bin"] == 0
    trusted = shell("acme/pickles", "model.use_safetensors=false")
    assert trusted.masks() == downloaded.masks()
    # transformers would look for the discussions in which it asked for a conversion.
    assert not [line for line in hub.requests if "/pickles/commits" in line]


def test_code_only_when_trusted(hub: Hub, shell: Shell, downloaded: Outcome) -> None:
    refused = shell("acme/code")
    refused.refuses(2, "model.path=acme/code", "custom code", "model.trust_remote_code=true")
    assert not refused.marked
    assert hub.downloaded("acme/code")["code.py"] == 0
    trusted = shell("acme/code", "model.trust_remote_code=true")
    assert trusted.masks() == downloaded.masks()
    assert trusted.marked


def test_no_config(shell: Shell) -> None:
    shell("acme/empty").refuses(2, "model.path=acme/empty", "no config.json")
