"""The Gram matrix alone, and SparseGPT alone, against the obvious way to write them.

    python -m tests.benchmarks.gram_sparsegpt --out 1024 --width 1024 2816

Gram matrix: products in place, against a transposed copy in float32 and a product of its own.
SparseGPT: ours, against one column at a time with the errors handed on to the full rows, and
with the paper's lazy batches of 128 columns. All from the same Gram matrix.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dsnot_exp.methods.gram import add_gram
from dsnot_exp.methods.layer_error import relative_errors
from dsnot_exp.methods.patterns import Unstructured
from dsnot_exp.methods.prune.sparsegpt import SparseGPT
from dsnot_exp.methods.statistics import Accumulator, InputStatistics
from dsnot_exp.methods.topk import smallest
from dsnot_exp.run.device import device_of
from tests.benchmarks.timing import interleaved, machine, table

BLOCK = 128


def main() -> None:
    options = arguments()
    torch.manual_seed(0)
    device, dtype = device_of(options.device), getattr(torch, options.dtype)
    rows = []
    for width in options.width:
        inputs = torch.randn(1, options.tokens, width, device=device).to(dtype)
        weight = torch.randn(options.out, width, device=device).to(dtype)
        accumulator = Accumulator(width, SparseGPT.needs, device)
        accumulator.update(inputs)
        statistics = accumulator.finish()
        check(weight, statistics)
        rows += compared(f"Gram {options.tokens} x {width}", gram_ways(inputs[0]), options)
        name = f"SparseGPT {options.out} x {width}"
        rows += compared(name, sparsegpt_ways(weight, statistics), options)
    print(f"{machine(device)}, {options.dtype}\n")
    print(table(["what", "seconds", "times ours"], rows))


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=int, default=1024)
    parser.add_argument("--width", type=int, nargs="+", default=[1024, 2816])
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def compared(name: str, ways: dict[str, Callable[[], object]], options: Any) -> list[list[str]]:
    seconds = interleaved(ways, options.repeats)
    return [[f"{name}: {w}", f"{s:.3f}", f"{s / seconds['ours']:.1f}"] for w, s in seconds.items()]


def gram_ways(inputs: Tensor) -> dict[str, Callable[[], object]]:
    """inputs: (tokens, in)."""
    width = inputs.shape[1]
    gram = torch.zeros(width, width, device=inputs.device)

    def copied() -> None:
        transposed = inputs.t().float().contiguous()
        gram.add_(transposed @ transposed.t())

    return {"ours": lambda: add_gram(gram, inputs[None]), "copied and transposed": copied}


def sparsegpt_ways(weight: Tensor, statistics: InputStatistics) -> dict[str, Callable[[], object]]:
    def ours() -> None:
        statistics.derived.clear()  # the factorisation counts
        SparseGPT(block=BLOCK)(weight, statistics, Unstructured(0.5), False)

    return {
        "ours": ours,
        "one column at a time": lambda: by_columns(weight, statistics, weight.shape[1]),
        "lazy batches of 128": lambda: by_columns(weight, statistics, BLOCK),
    }


def by_columns(weight: Tensor, statistics: InputStatistics, batch: int) -> tuple[Tensor, Tensor]:
    """Algorithm 1 of the paper at 50 %: mask and weight, (out, in) each.

    batch: columns among which each error is handed on at once; those beyond wait for its end
    """
    assert statistics.gram is not None
    weight, mask = weight.float().clone(), torch.ones_like(weight, dtype=torch.bool)
    damped = statistics.gram + 0.01 * statistics.gram.diagonal().mean() * torch.eye(
        weight.shape[1], device=weight.device
    )
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    upper = torch.linalg.cholesky(inverse, upper=True)
    for first in range(0, weight.shape[1], batch):
        last = min(first + batch, weight.shape[1])
        errors = torch.zeros(len(weight), last - first, device=weight.device)
        for j in range(first, last):
            if j % BLOCK == 0:
                span = slice(j, min(j + BLOCK, weight.shape[1]))
                scores = (weight[:, span] / upper.diagonal()[span]).square()
                flat = scores.reshape(1, -1)
                mask[:, span] = ~smallest(flat, flat.numel() // 2).view_as(scores)
            error = torch.where(mask[:, j], 0, weight[:, j]) / upper[j, j]
            weight[:, j:last] -= error[:, None] * upper[j, j:last]
            weight[:, j] *= mask[:, j]
            errors[:, j - first] = error
        weight[:, last:] -= errors @ upper[first:last, last:]
    return mask, weight


def check(weight: Tensor, statistics: InputStatistics) -> None:
    """All ways lead to the same layer error: to the same weights, but for near ties."""
    found = SparseGPT(block=BLOCK)(weight, statistics, Unstructured(0.5), False)
    ours = torch.where(found.mask, found.weight, 0)
    for batch in (BLOCK, weight.shape[1]):
        mask, updated = by_columns(weight, statistics, batch)
        _, errors = relative_errors(weight.float(), (ours.float(), updated), statistics, "true")
        assert (mask == found.mask).float().mean() > 0.999
        assert abs(errors[0] / errors[1] - 1) < 1e-2, errors


if __name__ == "__main__":
    main()
