"""Checkpoints that are no plain model are refused when the model is located."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.source import locate
from dsnot_exp.utils.errors import RequestError

ADAPTER = "adapter_config.json"


def folder_of(place: Path, config: dict[str, Any] | None = None, **files: Any) -> Path:
    """A model folder with a weight; `files`: JSON files beside it."""
    place.mkdir(exist_ok=True)
    if config is not None:
        (place / "config.json").write_text(json.dumps({"model_type": "llama"} | config))
        save_file({"w": torch.ones(1)}, place / "model.safetensors")
    for name, content in files.items():
        (place / f"{name}.json").write_text(json.dumps(content))
    return place


def refusal(folder: Path, **options: bool) -> str:
    with pytest.raises(RequestError) as told:
        locate(ModelConfig("local", str(folder), **options))
    line = str(told.value)
    assert line.startswith(f"model.path={folder}: ")
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ({"quantization_config": {"quant_method": "fp8"}}, "fp8"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "mxfp4"),
        ({"quantization_config": {"load_in_4bit": True}}, "quantization_config"),
        ({"text_config": {"quantization_config": {"quant_method": "awq"}}}, "text_config"),
        ({"a": {"b": {"quantization_config": {"quant_type": "int8"}}}}, "a.b.quantization_config"),
        ({"compression_config": {"format": "pack-quantized"}}, "pack-quantized"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "quantization"),
    ],
)
def test_a_quantised_configuration_is_refused(
    config: dict[str, Any], shown: str, tmp_path: Path
) -> None:
    line = refusal(folder_of(tmp_path, config))
    assert shown in line
    assert "prune the unquantised model" in line


@pytest.mark.parametrize("name", ["quantize_config", "quant_config", "hf_quant_config"])
def test_a_quantisers_own_file_is_noticed(name: str, tmp_path: Path) -> None:
    line = refusal(folder_of(tmp_path, {}, **{name: {"bits": 4}}))
    assert f"{name}.json" in line
    assert "prune the unquantised model" in line


def test_a_configuration_without_quantisation_is_not_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, {"quantization_config": None, "text_config": {"quantization_config": {}}})
    assert locate(ModelConfig("local", str(tmp_path))).path == str(tmp_path)


@pytest.mark.parametrize("pickles", [False, True])
def test_an_adapter_instead_of_a_model_is_named(pickles: bool, tmp_path: Path) -> None:
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "acme/llama-7b"}
    folder_of(tmp_path, None, adapter_config=adapter)
    save_file({"w": torch.ones(1)}, tmp_path / "adapter_model.safetensors")
    line = refusal(tmp_path, use_safetensors=not pickles)
    for word in ("holds a LoRA adapter of acme/llama-7b", "merge_and_unload", "save_pretrained"):
        assert word in line
    assert "move" not in line


def test_an_adapter_beside_a_model_is_not_applied_in_silence(tmp_path: Path) -> None:
    adapter = {"peft_type": "IA3", "base_model_name_or_path": None}
    line = refusal(folder_of(tmp_path, {}, adapter_config=adapter))
    assert "beside the model is an adapter of type IA3" in line
    assert f"move {ADAPTER} away" in line


def test_a_file_is_no_model(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", {})
    assert "the folder that this file is in" in refusal(folder / "model.safetensors")
