"""How wrong a sparse layer is: the expected error of each row, and the relative error."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from dsnot_exp.methods.gram import product
from dsnot_exp.methods.protocols import Initial
from dsnot_exp.methods.statistics import InputStatistics
from dsnot_exp.utils.accelerator import is_accelerator
from dsnot_exp.utils.distributed import ALONE, Ranks


def contribution(weight: Tensor, statistics: InputStatistics) -> Tensor:
    """c_rk = W_rk * S * mean_k: the contribution of a weight to its row's expected output, (out,
    in).

    The unit is the released code's: the token sum of one sequence. `update_threshold` has the same
    unit.
    """
    return weight.float() * (statistics.sequence_length * statistics.mean)


def row_slices(weight: Tensor, shared: int = 22) -> list[slice]:
    """Equal slices of the rows of `weight: (out, in)`, so that intermediate results fit in a core's
    cache. Several threads synchronise at every step, so they get larger slices (2^shared entries);
    a GPU gets the largest."""
    in_cache = 17 if torch.get_num_threads() == 1 else shared
    entries = 1 << (26 if is_accelerator(weight) else in_cache)
    rows, width = weight.shape
    count = max(1, min(rows, round(rows * width / entries)))
    edges = [rows * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def expected_error(weight: Tensor, initial: Initial, statistics: InputStatistics) -> Tensor:
    """e_r = sum_k (W_rk - M_rk W^_rk) * S * mean_k, (out,), float64 (the paper's equation 2)."""
    errors = []
    for rows in row_slices(weight, shared=18):  # few steps
        lost, mask = contribution(weight[rows], statistics), initial.mask[rows]
        if initial.moved:
            lost = lost - only(contribution(initial.weight[rows], statistics), mask)
        else:
            lost = only(lost, ~mask)
        errors.append(lost.sum(1, dtype=torch.float64))
    return torch.cat(errors)


def expected_error_of(dense: Tensor, sparse: Tensor, statistics: InputStatistics) -> Tensor:
    """e_r of a final weight: (out,), float64; dense, sparse: (out, in)."""
    slices = row_slices(dense, shared=18)
    lost = (dense[rows].float() - sparse[rows].float() for rows in slices)
    return torch.cat([contribution(part, statistics).sum(1, dtype=torch.float64) for part in lost])


def bits(chosen: Tensor) -> Tensor:
    """True -> all ones, False -> 0, int32."""
    return chosen.to(torch.int32).neg_()


def only(value: Tensor, chosen: Tensor) -> Tensor:
    """`value: (out, in)` float32 where `chosen: (out, in)` bool, else 0."""
    return (value.view(torch.int32) & bits(chosen)).view(torch.float32)


def relative_errors(
    dense: Tensor,
    sparse: tuple[Tensor, Tensor],
    statistics: InputStatistics,
    how: str,
    ranks: Ranks = ALONE,
) -> tuple[int | None, tuple[float | None, float | None]]:
    """The number of tokens, and ||(W - W^)X||^2 / ||WX||^2 of two sparse weights.

    dense, sparse: (rows, in); how: `sample`, `true` (all tokens) or `false` (not measured)
    """
    seen = {"sample": statistics.sample, "true": statistics.gram}.get(how)
    if seen is None:
        return None, (None, None)
    tokens = len(seen) if how == "sample" else statistics.tokens

    def energy(matrix: Tensor) -> float:
        return ranks.total(own_energy(matrix))

    def own_energy(matrix: Tensor) -> float:
        if how == "sample":
            return float(outputs(seen, matrix).square().sum(dtype=torch.float64))
        matrix = matrix.float()  # tr(W G W^T)
        return float(((matrix @ seen) * matrix).sum(dtype=torch.float64))

    whole = energy(dense)
    if whole == 0:
        return tokens, (0.0, 0.0)
    first = energy(dense - sparse[0]) / whole
    same = all(ranks.gather(torch.equal(*sparse)))  # the mask was not refined
    return tokens, (first, first if same else energy(dense - sparse[1]) / whole)


def token_errors(ours: Tensor, wanted: Tensor) -> Tensor:
    """|y - y'|^2 / |y|^2 of each token, float32, y being wanted; ours, wanted: (..., hidden) ->
    (...)"""
    wanted = wanted.float()
    size = wanted.square().sum(-1).clamp_min(torch.finfo(torch.float32).tiny)
    return (ours.float() - wanted).square().sum(-1) / size


def outputs(tokens: Tensor, weight: Tensor) -> Tensor:
    """tokens @ weight^T in float32; tokens: (tokens, in), weight: (out, in).

    On a CPU, bfloat16 outputs are rounded before they are float32: that is several times as fast,
    and in a sum of their squares the roundings cancel (less than 1e-3 of an error, measured).
    """
    if tokens.dtype == weight.dtype == torch.bfloat16 and not is_accelerator(tokens):
        return (tokens @ weight.T).float()
    return product(tokens, weight.T)
