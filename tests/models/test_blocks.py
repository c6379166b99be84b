"""Where the blocks of a model are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dsnot_exp.models.blocks import find_blocks, refuse_shared_parameters
from dsnot_exp.utils.errors import RequestError
from tests.support.families import FAMILIES, SMALL, build


def skeleton(family: str, **config: Any) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **config))


@pytest.mark.parametrize(
    ("family", "path"), [("biogpt", "biogpt.layers"), ("ctrl", "transformer.h")]
)
def test_a_class_that_names_no_blocks_has_them_found_by_their_number(
    family: str, path: str
) -> None:
    names = {"n_embd": 32, "n_layer": 3, "n_head": 4, "dff": 48, "n_positions": 64}
    config = SMALL if family == "biogpt" else names | {"vocab_size": 96}
    assert find_blocks(skeleton(family, **config))[0] == path


def test_two_stacks_of_blocks_are_left_to_the_user() -> None:
    with pytest.raises(RequestError, match=r"model\.blocks= from .*L_module\.layers"):
        find_blocks(skeleton("hrm_text", **SMALL | {"num_layers_per_stack": 2}))


def test_the_language_model_of_a_wrapper_is_found() -> None:
    assert find_blocks(skeleton("gemma3", **FAMILIES["gemma3"]))[0] == "model.language_model.layers"


def test_blocks_that_share_a_parameter_are_refused() -> None:
    model = build("llama")
    blocks = find_blocks(model)
    refuse_shared_parameters(blocks)
    blocks[1][2].mlp.up_proj.weight = blocks[1][0].mlp.up_proj.weight
    with pytest.raises(RequestError, match=r"layers\.2\.mlp\.up_proj\.weight is also block 0's"):
        refuse_shared_parameters(blocks)
