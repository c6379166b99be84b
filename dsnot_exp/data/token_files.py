"""Tokenised files: `input_ids` in a .safetensors file."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dsnot_exp.utils.errors import RequestError


def read_rows(what: str, path: str, seqlen: int) -> Tensor:
    """Read `input_ids`, (tokens,) or (rows, tokens), as (sequences, seqlen) int64.

    Each row is cut into sequences of `seqlen`; its tail is dropped. `what` is for error messages.
    """
    try:
        tensors = load_file(Path(os.path.expanduser(path)))
    except (SafetensorError, OSError) as error:
        raise RequestError(f"{what}: not a readable .safetensors file ({error})") from error
    if "input_ids" not in tensors:
        others = ", ".join(tensors) or "nothing"
        raise RequestError(f"{what}: has no tensor input_ids, only {others}")
    return rows_of(what, tensors["input_ids"], tensors.get("attention_mask"), seqlen)


def rows_of(what: str, ids: Tensor, mask: Tensor | None, seqlen: int) -> Tensor:
    """`ids`, (tokens,) or (rows, tokens), as (sequences, seqlen) int64."""
    _check(what, ids, mask)
    ids = ids.to(torch.int64).reshape(-1, ids.shape[-1])
    per_row = ids.shape[1] // seqlen
    if per_row == 0:
        raise RequestError(
            f"{what}: its rows have {ids.shape[1]} tokens, shorter than one sequence of {seqlen}"
        )
    return ids[:, : per_row * seqlen].reshape(-1, seqlen)


def split_rows(
    what: str, rows: Tensor, samples: int, held_out: int
) -> tuple[Tensor, Tensor | None, tuple[str, ...]]:
    """The first `samples` of `rows`, the `held_out` after them (None if 0), and warnings.

    If there are too few of them, the last rows serve as held out too.
    """
    count, seqlen = rows.shape
    group = what.partition(".")[0]
    if count < samples:
        raise RequestError(
            f"{what}: holds {count} sequences of {seqlen} tokens, fewer than "
            f"{group}.samples={samples}"
        )
    if held_out == 0:
        return rows[:samples], None, ()
    if count >= samples + held_out:
        return rows[:samples], rows[samples : samples + held_out], ()
    warning = (
        f"{group}.held_out={held_out}: the file has {count} sequences, too few beside "
        f"{group}.samples={samples}, so its last ones are not held out; lower {group}.samples"
    )
    return rows[:samples], rows[-held_out:], (warning,)


def _check(what: str, ids: Tensor, mask: Tensor | None) -> None:
    """Raise unless `ids` are token ids of whole sequences."""
    dtype = str(ids.dtype).removeprefix("torch.")
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise RequestError(f"{what}: input_ids are {dtype}; expected integers, such as int64")
    if ids.dim() not in (1, 2):
        raise RequestError(
            f"{what}: input_ids have the shape {_shape(ids)}; expected (tokens,) or "
            "(sequences, tokens)"
        )
    if ids.numel() == 0:
        raise RequestError(f"{what}: input_ids are empty, of the shape {_shape(ids)}")
    if (low := int(ids.to(torch.int64).min())) < 0:
        raise RequestError(f"{what}: input_ids contain {low}; token ids start at 0")
    if mask is None:
        return
    if mask.shape != ids.shape:
        raise RequestError(
            f"{what}: attention_mask has the shape {_shape(mask)}, and input_ids {_shape(ids)}"
        )
    if masked := int((mask == 0).sum()):
        raise RequestError(
            f"{what}: attention_mask masks {masked} of {ids.numel()} tokens; padding is not "
            "supported: cut it off, or join the texts and cut them into rows of equal length"
        )


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
