"""Training stories as rows of tokens. The number of the first story determines the rows."""

import torch
from transformers import PreTrainedTokenizerFast

from dsnot_exp.tinyworld.language import stories
from dsnot_exp.tinyworld.network import Recipe


def encoded(words: PreTrainedTokenizerFast, story: int, count: int) -> list[list[int]]:
    """`count` stories from number `story` on, each ``<s> ... </s>``."""
    return [[*ids, words.eos_token_id] for ids in words(stories("train", count, story)).input_ids]


def short_rows(recipe: Recipe, words: PreTrainedTokenizerFast, story: int) -> torch.Tensor:
    """Whole stories in rows of `length` / 2 tokens, (1.5 batch, length / 2), padded with -100.

    For the first part of training: every answer is in the same row as the facts it follows from.
    """
    length = recipe.length // 2
    rows: list[list[int]] = [[] for _ in range(recipe.batch * 3 // 2)]
    for ids in sorted(encoded(words, story, 2 * len(rows)), key=len, reverse=True):
        row = next((row for row in rows if len(row) + len(ids) <= length), None)
        if row is not None:
            row += ids
    return torch.tensor([row + [-100] * (length - len(row)) for row in rows])


def packed_rows(recipe: Recipe, words: PreTrainedTokenizerFast, story: int) -> torch.Tensor:
    """Stories concatenated and cut anywhere, (batch, length), as in evaluation."""
    size = recipe.batch * recipe.length
    ids = [token for one in encoded(words, story, size // 40) for token in one]
    return torch.tensor(ids[:size]).view(recipe.batch, recipe.length)


def answers(ids: torch.Tensor, words: PreTrainedTokenizerFast) -> torch.Tensor:
    """Which targets are between ``?`` or ``:`` and a full stop: (rows, n) -> (rows, n - 1).

    As in a loss, the first token is no target.
    """
    place = torch.arange(ids.shape[1]).expand_as(ids)
    marks = torch.tensor(words.convert_tokens_to_ids(["?", ":"]))
    stop = torch.tensor(words.convert_tokens_to_ids(["."]))
    opened = (place * torch.isin(ids, marks)).cummax(1).values
    closed = (place * torch.isin(ids, stop)).cummax(1).values
    return (opened > closed)[:, :-1]
