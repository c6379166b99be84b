"""Matrix products in the inputs' own precision, summed and returned in float32.

On a GPU, half-precision products do that without a float32 copy of the operands. So does
native/gram.c on CPUs that multiply bfloat16 numbers. On other CPUs, a slice of tokens at a time is
copied to float32: torch's own bfloat16 products round their sums to bfloat16, and the Gram matrix
of attention's outputs then often is no longer positive definite.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from dsnot_exp.methods import gram_kernel
from dsnot_exp.utils import accelerator
from dsnot_exp.utils.accelerator import is_accelerator

STRIPE = 512  # columns of a Gram matrix that are computed together
WIDE = 512  # inputs
ROWS = 512  # tokens that are copied to float32 at a time


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b in float32; a: (m, k), b: (k, n)."""
    if a.dtype == b.dtype != torch.float32 and adds_in_float32(a.device):
        return torch.mm(a, b, out_dtype=torch.float32)
    return a.float() @ b.float()


def multiplies_bfloat16(device: torch.device, width: int) -> bool:
    """Whether torch's bfloat16 products with a matrix of this width are faster than its float32
    products, the conversion included."""
    if width < WIDE:
        return False
    if is_accelerator(device):
        return adds_in_float32(device) and accelerator.multiplies_bfloat16(device)
    return gram_kernel.available()


def adds_in_float32(device: torch.device) -> bool:
    """Whether torch's products of half-precision matrices can return their sums in float32 there.
    NVIDIA's GPUs can. Others are asked for a small product once."""
    return is_accelerator(device) and _mixed_product(device.type)


@cache
def _mixed_product(kind: str) -> bool:
    ones = torch.ones(8, 8, dtype=torch.bfloat16, device=kind)
    try:
        return torch.mm(ones, ones, out_dtype=torch.float32).dtype == torch.float32
    except (RuntimeError, TypeError):
        return False


def add_gram(gram: Tensor, tokens: Tensor) -> None:
    """gram += A^T A on and above the diagonal, sequence by sequence, for A = one sequence of
    `tokens: (sequences, tokens, in)`; gram: (in, in), float32. The matrix is symmetric, so each
    stripe of columns stops at the diagonal, which saves almost half of the products."""
    if _compiled(tokens):
        return gram_kernel.add_gram(gram, tokens)
    for sequence in tokens:
        for part in sequence.split(ROWS) if _copied(tokens) else [sequence]:
            _add_products(gram, part.float() if _copied(tokens) else part)


def add_cross(sums: Tensor, left: Tensor, right: Tensor) -> None:
    """sums += L^T A, sequence by sequence; left: (sequences, tokens, out), right: (sequences,
    tokens, in), of one dtype; sums: (out, in), float32."""
    if _compiled(right):
        return gram_kernel.add_cross(sums, left, right)
    rows = ROWS if _copied(right) else right.shape[1]
    for a, b in zip(left, right, strict=True):
        for part, other in zip(a.split(rows), b.split(rows), strict=True):
            sums += product(part.T, other)


def _add_products(gram: Tensor, tokens: Tensor) -> None:
    """tokens: (tokens, in)"""
    for stripe in _stripes(gram):
        above = slice(0, stripe.stop)
        target = gram[above, stripe]
        if tokens.dtype == torch.float32:
            target.addmm_(tokens[:, above].T, tokens[:, stripe])
        else:
            target += product(tokens[:, above].T, tokens[:, stripe])


def mirror(gram: Tensor) -> Tensor:
    """Copy the part above the diagonal to below it, in place."""
    for stripe in _stripes(gram):
        gram[stripe, : stripe.start] = gram[: stripe.start, stripe].T
        corner = gram[stripe, stripe]
        corner.copy_(corner.triu() + corner.triu(1).T)
    return gram


def to_unit_diagonal(gram: Tensor) -> Tensor:
    """Divide `gram: (in, in)` by n n^T in place, n = sqrt(diag gram). Returns n, (in,): 0 where the
    input is always zero (dead), whose column gets a 1 on the diagonal, as every other has."""
    scale = gram.diagonal().sqrt()
    factor = torch.where(scale == 0, 0, 1 / scale)
    gram.mul_(factor).mul_(factor[:, None]).diagonal().fill_(1)
    return scale


def _compiled(tokens: Tensor) -> bool:
    in_memory = not is_accelerator(tokens)
    return in_memory and tokens.dtype == torch.bfloat16 and gram_kernel.available()


def _copied(tokens: Tensor) -> bool:
    return tokens.dtype != torch.float32 and not adds_in_float32(tokens.device)


def _stripes(gram: Tensor) -> list[slice]:
    width = len(gram)
    return [slice(low, min(low + STRIPE, width)) for low in range(0, width, STRIPE)]
