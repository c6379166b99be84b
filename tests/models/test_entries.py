"""conf/model: every entry composes, and its family builds and can be pruned."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from dsnot_exp.config import register_schema, to_config
from dsnot_exp.launch.hydra_setup import register
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import linears, refuse_unprunable
from dsnot_exp.utils.paths import beside_or_inside
from tests.support.families import build

FOLDER = beside_or_inside("conf") / "model"
ENTRIES = sorted(p.stem for p in FOLDER.glob("*.yaml") if p.stem not in ("hub", "local"))
# The configuration class that each repository's config.json names.
FAMILY = {
    "llama": "llama", "llama2": "llama", "llama3": "llama-gqa", "llama3.1": "llama-gqa",
    "llama3.2": "llama-tied", "vicuna": "llama", "tinyworld": "llama", "opt": "opt", "gpt2": "gpt2",
    "pythia": "gpt_neox", "mistral": "mistral", "qwen2.5": "qwen2", "qwen3": "qwen3",
    "gemma2": "gemma2", "gemma3": "gemma3", "phi3": "phi3", "phi4": "phi3", "olmo2": "olmo2",
    "mixtral": "mixtral", "smollm2": "llama-tied",
}  # fmt: skip
WITHOUT_PATH = {"tinyworld", "smollm2-q4"}  # found by their names, with defaults of their own
EXCEPTIONS = {
    "gemma3-270m": "gemma3_text",
    "gemma3-1b": "gemma3_text",
    "qwen3-30b-a3b": "qwen3_moe",
}


@pytest.fixture(scope="module")
def composed() -> dict[str, DictConfig]:
    register_schema()
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(FOLDER.parent), version_base="1.3"):
        return {entry: compose("config", [f"model={entry}"]) for entry in ENTRIES}


@cache
def blocks_of(family: str, path: str | None):  # type: ignore[no-untyped-def]
    return find_blocks(build(family), path)


def test_there_is_an_entry_for_every_model_of_the_papers() -> None:
    assert len(ENTRIES) > 60
    for name in ("llama-7b", "llama-65b", "llama2-70b", "vicuna-13b", "opt-13b", "opt-66b"):
        assert name in ENTRIES


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_composes_and_its_family_can_be_pruned(
    composed: dict[str, DictConfig], entry: str
) -> None:
    model = to_config(composed[entry]).model
    assert model.name == entry
    if entry not in WITHOUT_PATH:
        assert re.fullmatch(r"[\w-]+/[\w.-]+", model.path or "")
        size = entry.partition("-")[2]
        assert entry.startswith(("gpt2", "phi", "mixtral")) or size in (model.path or "").lower()
    family = EXCEPTIONS.get(entry) or FAMILY[entry.partition("-")[0]]
    name, blocks = blocks_of(family, model.blocks)
    for index, block in enumerate(blocks):
        refuse_unprunable(block, f"{name}.{index}", model.dense)
        assert len(linears(block)) >= 4


def test_no_entry_says_more_than_what_differs() -> None:
    known = {"name", "path", "blocks", "revision"}
    for entry in set(ENTRIES) - WITHOUT_PATH:
        assert set(OmegaConf.load(Path(FOLDER) / f"{entry}.yaml")) <= known, entry
