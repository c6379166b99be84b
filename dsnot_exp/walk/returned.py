"""Checks what a method returns: a method may be anybody's, and a wrong shape or too many kept
weights would give numbers that look right."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dsnot_exp.methods.patterns import NM, Pattern
from dsnot_exp.methods.protocols import Initial, Refined
from dsnot_exp.methods.topk import counts
from dsnot_exp.utils.errors import RunError

SLACK = 0.02  # of the weights: how far a mask may be from the sparsity that was asked for


def check_initial(layer: str, pruner: Any, initial: Any, weight: Tensor) -> None:
    """A pruner returns an `Initial` of tensors like `weight: (out, in)`."""
    who = f"{layer}: {type(pruner).__name__}"
    if not isinstance(initial, Initial):
        raise RunError(f"{who} returned a {_kind(initial)}; return Initial(mask, weight, scores)")
    for name in ("mask", "weight", "scores"):
        _check_shape(f"{who} returned Initial.{name}", getattr(initial, name), weight.shape)
    _check_bool(f"{who} returned Initial.mask", initial.mask)


def check_refined(layer: str, refiner: Any, refined: Any, weight: Tensor) -> None:
    """A refiner returns a `Refined` for `weight: (out, in)`."""
    who = f"{layer}: {type(refiner).__name__}"
    if not isinstance(refined, Refined):
        raise RunError(
            f"{who} returned a {_kind(refined)}; return Refined(mask, error_before, error_after, "
            "swaps)"
        )
    _check_shape(f"{who} returned Refined.mask", refined.mask, weight.shape)
    _check_bool(f"{who} returned Refined.mask", refined.mask)
    for name in ("error_before", "error_after", "swaps"):
        _check_shape(f"{who} returned Refined.{name}", getattr(refined, name), weight.shape[:1])


def check_reconstructed(layer: str, method: Any, weight: Any, mask: Tensor) -> None:
    """A reconstructor returns a weight (out, in) that is zero where the mask is False."""
    who = f"{layer}: {type(method).__name__}"
    _check_shape(f"{who} returned a weight", weight, mask.shape)
    outside = weight.masked_fill(mask, 0)
    if bool(outside.any()) and bool(outside.isfinite().all()):  # else it is no number: said later
        raise RunError(
            f"{who} returned weights where the mask is False; return weight.masked_fill(~mask, 0)"
        )


def check_sparsity(layer: str, pruner: Any, mask: Tensor, pattern: Pattern) -> None:
    """The mask of a whole layer has the sparsity of its pattern, and N of every M."""
    who, zeros = f"{layer}: {type(pruner).__name__}", mask.numel() - int(mask.count_nonzero())
    if isinstance(pattern, NM) and bool((counts(pattern.groups(mask)) != pattern.n).any()):
        raise RunError(
            f"{who} returned a mask that is not {pattern}; take it from pattern.mask(scores)"
        )
    rounding = len(mask)  # each row may be rounded by itself
    wanted = pattern.sparsity * mask.numel()
    if abs(zeros - wanted) > SLACK * mask.numel() + rounding:
        raise RunError(
            f"{who} pruned {zeros / mask.numel():.1%} of the weights instead of "
            f"{pattern.sparsity:.1%}; take the mask from pattern.mask(scores)"
        )


def _check_shape(what: str, tensor: Any, shape: torch.Size) -> None:
    if not isinstance(tensor, Tensor) or tensor.shape != shape:
        found = tuple(tensor.shape) if isinstance(tensor, Tensor) else _kind(tensor)
        raise RunError(f"{what}: {found} instead of {tuple(shape)}")


def _check_bool(what: str, mask: Tensor) -> None:
    if mask.dtype != torch.bool:
        raise RunError(f"{what}: {mask.dtype} instead of torch.bool; True means kept")


def _kind(value: Any) -> str:
    return type(value).__name__
