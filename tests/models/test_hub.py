"""Models by their id: the real command, against a hub on the loopback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dsnot_exp.tinyworld import tokenizer as words
from tests.support.families import build
from tests.support.hub_server import NARROW, TOKEN, Hub, Repository
from tests.support.shell import Outcome, Process

COMMIT = "5eed" * 10
CODE = """
import os
from transformers import LlamaConfig, LlamaForCausalLM

open(os.environ["MARKER"], "w").close()

class Config(LlamaConfig):
    model_type = "custom"

class Model(LlamaForCausalLM):
    config_class = Config
"""


class Shell(Process):
    """Runs the command on a model of the hub; it may be called once a process has started."""

    def __init__(self, place: Path, hub: Hub, **environment: str) -> None:
        super().__init__(place, hub, **environment)
        (place / "text.txt").write_text(" ".join(words.vocabulary()))
        save_file({"input_ids": torch.arange(64).reshape(2, 32)}, place / "ids.safetensors")

    def __call__(self, model: str, *arguments: str, **environment: str) -> Outcome:
        """Calibrate on text, for which the tokenizer is needed, and evaluate on tokens."""
        return self.run(
            "model=hub", f"model.path={model}", "sparsity=0.5", "refine=none",
            f"calib.dataset={self.place}/text.txt", "calib.samples=2", "calib.seqlen=16",
            f"eval.perplexity=[{self.place}/ids.safetensors]", "eval.seqlen=16", *arguments,
            **environment,
        )  # fmt: skip


def masks(outcome: Outcome) -> str:
    """The hash of the masks of a run that finished, quietly, on the right commit."""
    assert outcome.finished()["model"]["revision"] == COMMIT
    return outcome.finished()["masks_sha256"]


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
    packed = shutil.copytree(toy, place / "packed")
    (packed / "config.json").write_text(
        (toy / "config.json").read_text().replace("{", '{"quantization_config": {"bits": 4},', 1)
    )
    adapter = place / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "acme/toy"}')
    torn = shutil.copytree(toy, place / "torn")
    weights = load_file(torn / "model.safetensors")
    weights.pop("lm_head.weight")
    save_file(weights, torn / "model.safetensors", metadata={"format": "pt"})
    folders = {"toy": toy, "later": toy, "fresh": toy, "pickles": pickles, "code": code}
    folders |= {"empty": empty, "packed": packed, "adapter": adapter, "torn": torn}
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
    assert masks(downloaded)
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
    assert masks(cached) == masks(downloaded)
    absent.refuses(1, "model.path=acme/later", hub.url, "cannot be reached", "HF_ENDPOINT")


def test_offline_asks_the_hub_for_nothing(hub: Hub, shell: Shell, downloaded: Outcome) -> None:
    cache, asked = f"{shell.place}/cache", len(hub.requests)
    offline = Shell(shell.place / "offline", hub, HF_HOME=cache, HF_HUB_OFFLINE="1")
    assert masks(offline("acme/toy")) == masks(downloaded)
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
    shell("acme/members", HF_TOKEN="hf_expired").refuses(2, "acme/members", "rejects your token")
    shell("acme/members", HF_TOKEN=NARROW).refuses(1, "acme/members", "returned 403 (Enable access")
    assert masks(shell("acme/members", HF_TOKEN=TOKEN)) == masks(downloaded)


def test_a_sweep_says_first_what_it_needs(hub: Hub, shell: Shell) -> None:
    """Sizes of what has to be downloaded; models that are gated, or pickled and not trusted."""
    done = shell("acme/fresh,acme/gated,acme/pickles", "-m")
    lines = [line.strip() for line in done.out.splitlines() if line.startswith("  model ")]
    size = (hub.commits["models", "acme/fresh"][0].folder / "model.safetensors").stat().st_size
    told, gated, pickled = lines
    assert told.startswith("model     acme/fresh: ")
    assert told.endswith(f", {size / 1e6:.1f} MB to download")
    assert gated == (
        "model     acme/gated: cannot be used: this model is gated; accept its terms on "
        f"{hub.url}/acme/gated and log in with `hf auth login`, or set HF_TOKEN"
    )
    assert pickled.startswith("model     acme/pickles: cannot be used: no .safetensors weights")
    assert "sweep     1 of 3 runs finished" in done.out


def test_pickles_only_when_trusted(hub: Hub, shell: Shell, downloaded: Outcome) -> None:
    shell("acme/pickles").refuses(2, "model.path=acme/pickles", "model.use_safetensors=false")
    assert hub.downloaded("acme/pickles")["pytorch_model.bin"] == 0
    trusted = shell("acme/pickles", "model.use_safetensors=false")
    assert masks(trusted) == masks(downloaded)
    # transformers would look for the discussions in which it asked for a conversion.
    assert not [line for line in hub.requests if "/pickles/commits" in line]


def test_code_only_when_trusted(hub: Hub, shell: Shell, downloaded: Outcome) -> None:
    refused = shell("acme/code")
    refused.refuses(2, "model.path=acme/code", "custom code", "model.trust_remote_code=true")
    assert not refused.marked
    assert hub.downloaded("acme/code")["code.py"] == 0
    trusted = shell("acme/code", "model.trust_remote_code=true")
    assert masks(trusted) == masks(downloaded)
    assert trusted.marked


def test_no_config(shell: Shell) -> None:
    shell("acme/empty").refuses(2, "model.path=acme/empty", "no config.json")


def test_what_is_no_plain_model_is_not_downloaded(hub: Hub, shell: Shell) -> None:
    shell("acme/packed").refuses(2, "model.path=acme/packed", "prune the unquantised model")
    assert hub.downloaded("acme/packed")["model.safetensors"] == 0
    shell("acme/adapter").refuses(2, "model.path=acme/adapter", "LoRA", "acme/toy", "merge")


def test_a_weight_that_is_missing_is_named_after_the_download(shell: Shell) -> None:
    shell("acme/torn").refuses(2, "model.path=acme/torn", "lacks 1 weight", "lm_head.weight")
