"""What is known of a model without its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dsnot_exp.config import ModelConfig
from dsnot_exp.models import open as opening
from dsnot_exp.models.source import Source, locate
from dsnot_exp.run.model_shape import ModelShape, model_key
from tests.run.test_rates import BASE
from tests.support.families import build

CPU = torch.device("cpu")


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_it_has_the_parameters_of_the_real_model_tied_ones_once(
    family: str, tmp_path: Path
) -> None:
    model = build(family)
    model.config.save_pretrained(tmp_path)
    options = ModelConfig(name="local", path=str(tmp_path), dtype="float32")
    shape = ModelShape.of(options, Source(str(tmp_path)))
    assert shape.parameters == model.num_parameters()
    assert shape.weight_bytes == 4 * shape.parameters
    assert shape.around_bytes + len(shape.blocks[1]) * shape.block_bytes == shape.weight_bytes
    sizes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    name = shape.blocks[0]
    assert shape.layers == [
        (*sizes[f"{name}.1.{layer}.weight"], layer) for _, _, layer in shape.layers
    ]


def test_what_is_loaded_has_one_key() -> None:
    model = BASE.model
    assert model_key(model) == model_key(replace(model, max_cycles=3, perplexity=["c4"], tasks=[]))
    assert model_key(model) != model_key(replace(model, dtype="float16"))


def test_the_device_holds_what_the_run_would_put_there(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = ModelShape.of(BASE.model, locate(BASE.model))
    assert shape.whole(CPU)
    monkeypatch.setattr(opening, "MEMORY_SHARE", 1e-9)
    assert not shape.whole(CPU)  # blocks are read from disk
    assert replace(shape, streamable=False).whole(CPU)
    never = replace(shape, options=replace(shape.options, streaming="false"))
    assert never.whole(CPU)
    monkeypatch.undo()
    always = replace(shape, options=replace(shape.options, streaming="true"))
    assert not always.whole(CPU)
    pickled = replace(BASE.model, use_safetensors=False)
    assert not ModelShape.of(pickled, locate(BASE.model)).streamable
