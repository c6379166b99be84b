"""The bundled model's recipe and configuration."""

from dataclasses import dataclass

from transformers import LlamaConfig

from dsnot_exp.tinyworld import tokenizer


@dataclass(frozen=True)
class Recipe:
    """Sizes and schedule. A step sees `batch` x `length` tokens, or 3/4 of that in short rows.

    packed: number of steps at the end that see packed text
    emphasis: until then, an answer's tokens have weight 1 + emphasis in the loss
    muon_rate, input_rate, adam_rate: peak learning rates of matrices, input embeddings and the rest
    """

    hidden: int = 320
    layers: int = 4
    intermediate: int = 512
    heads: int = 10
    steps: int = 8400
    packed: int = 800
    emphasis: float = 4.0
    batch: int = 16
    length: int = 256
    warmup: int = 150
    muon_rate: float = 0.015
    input_rate: float = 0.015
    adam_rate: float = 0.003
    decay: float = 0.05
    seed: int = 1


def config(recipe: Recipe) -> LlamaConfig:
    vocabulary = len(tokenizer.vocabulary())
    return LlamaConfig(
        vocab_size=vocabulary + -vocabulary % 16,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
