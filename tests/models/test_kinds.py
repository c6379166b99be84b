"""Which models are refused from their configuration, and what a wrapper leaves out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dsnot_exp.models.kinds import left_out, refuse_other_kinds
from dsnot_exp.utils.errors import RequestError
from tests.support.families import FAMILIES, GQA, HEAD


def config(family: str, **changes: Any) -> Any:
    return AutoConfig.for_model(family, **changes)


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "xlm-roberta", "xlm", "xlnet"])
def test_an_encoder_is_refused(family: str) -> None:
    with pytest.raises(RequestError, match=rf"^model\.path=m: {family} is an encoder, .*decoder"):
        refuse_other_kinds("m", config(family))


def test_a_bert_that_was_trained_as_a_decoder_is_none() -> None:
    refuse_other_kinds("m", config("bert", is_decoder=True))
    refuse_other_kinds("m", config("xlm", causal=True))


@pytest.mark.parametrize("family", ["t5", "bart", "whisper", "marian"])
def test_an_encoder_decoder_is_refused(family: str) -> None:
    with pytest.raises(RequestError, match=f"{family} is an encoder-decoder; decoder-only"):
        refuse_other_kinds("m", config(family))


def test_so_is_the_decoder_of_one_that_was_saved_alone() -> None:
    with pytest.raises(RequestError, match="bart is an encoder-decoder"):
        refuse_other_kinds("m", config("bart", is_encoder_decoder=False, is_decoder=True))


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_a_wrapper_that_transformers_loads_with_images_only_is_refused(family: str) -> None:
    with pytest.raises(RequestError, match=rf"{family} joins a language model with .*vision"):
        refuse_other_kinds("m", config(family))


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(RequestError, match="vit is nothing that transformers loads as a causal"):
        refuse_other_kinds("m", config("vit"))


def test_decoders_pass_and_so_does_remote_code() -> None:
    for family in FAMILIES:
        refuse_other_kinds("m", config(family.split("-")[0]))
    own = config("vit")
    own.auto_map = {"AutoModelForCausalLM": "own.Model"}
    refuse_other_kinds("m", own)


def test_a_wrapper_tells_what_is_loaded_of_it() -> None:
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "depth": 1}
    text = HEAD | {"layer_types": ["full_attention"] * 3}
    wrapper = config("qwen3_5", text_config=text, vision_config=vision)
    gemma = config("gemma3", **FAMILIES["gemma3"])
    with torch.device("meta"):
        assert left_out(wrapper, AutoModelForCausalLM.from_config(wrapper)) == ["vision"]
        assert left_out(gemma, AutoModelForCausalLM.from_config(gemma)) == []
    llama = config("llama", **GQA)
    with torch.device("meta"):
        assert left_out(llama, AutoModelForCausalLM.from_config(llama)) == []
