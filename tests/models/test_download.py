"""Which files of a repository hold the weights."""

from __future__ import annotations

from dsnot_exp.models.download import bytes_to_download, weight_files
from dsnot_exp.models.source import Source

SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
PICKLES = ["pytorch_model-00001-of-00001.bin", "training_args.bin"]


def test_those_that_transformers_loads() -> None:
    others = ["config.json", "consolidated.safetensors", "model.safetensors.index.json"]
    assert weight_files([*others, *SHARDS, *PICKLES], use_safetensors=True) == SHARDS
    assert weight_files([*SHARDS, "model.safetensors"], True) == ["model.safetensors"]
    assert weight_files([*SHARDS, *PICKLES], use_safetensors=False) == PICKLES[:1]
    assert weight_files(["pytorch_model.bin", *SHARDS], False) == ["pytorch_model.bin"]
    assert weight_files(PICKLES, use_safetensors=True) == []


def test_nothing_of_a_folder_and_nothing_is_known_offline() -> None:
    assert bytes_to_download(Source("/models/mine"), True) == 0
    assert bytes_to_download(Source("acme/toy", "c0ffee", local_files_only=True), True) is None
