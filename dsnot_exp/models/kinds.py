"""What kind of model a configuration describes: only decoder-only language models can be pruned.
Asked before any weight is read."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from dsnot_exp.utils.errors import RequestError

SUPPORTED = "decoder-only models are supported"
LEFT_OUT = "the language model alone was loaded and is saved, without the checkpoint's other parts"
LANGUAGE = ("text_config", "decoder_config", "llm_config")  # nested in a wrapper's configuration
TWO_WAY = {"xlnet", "bert-generation"}  # encoders that are no masked language models


def refuse_other_kinds(path: str, config: Any) -> None:
    """Raise for encoders, encoder-decoders, and wrappers that transformers does not load as a
    causal language model."""
    start = f"model.path={path}: {config.model_type}"
    # A decoder that was saved alone (BartForCausalLM) still has its attention to an encoder.
    if config.is_encoder_decoder or getattr(type(config), "is_encoder_decoder", False):
        raise RequestError(f"{start} is an encoder-decoder; {SUPPORTED}")
    if _reads_both_ways(config):
        raise RequestError(
            f"{start} is an encoder, in which a token sees those after it; {SUPPORTED} (one that "
            "was trained as a decoder says is_decoder=true in its config.json)"
        )
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING or getattr(config, "auto_map", None):
        return
    if parts(config):
        raise RequestError(
            f"{start} joins a language model with {' and '.join(parts(config))}, and transformers "
            "does not load it as a causal language model; save its language model in a folder of "
            "its own and prune that"
        )
    raise RequestError(
        f"{start} is nothing that transformers loads as a causal language model; {SUPPORTED}"
    )


def _reads_both_ways(config: Any) -> bool:
    kind = config.model_type
    if kind == "xlm":
        return not config.causal
    encoder = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES or kind in TWO_WAY
    return encoder and not getattr(config, "is_decoder", False)


def parts(config: Any) -> list[str]:
    """What a wrapper has beside its language model, such as `vision`."""
    nested = getattr(config, "sub_configs", {})
    names = [name for name in nested if isinstance(getattr(config, name, None), PreTrainedConfig)]
    return [name.removesuffix("_config") for name in names if name not in LANGUAGE]


def left_out(config: Any, model: Any) -> list[str]:
    """The parts of a wrapper that transformers leaves out when it loads the model as a causal
    language model, such as `vision`. config: the checkpoint's"""
    return [] if type(model.config) is type(config) else parts(config)
