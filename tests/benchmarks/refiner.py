"""The time of one layer's refinement: python -m tests.benchmarks.refiner --help

Three ways to the same swaps, measured in turn, each in every round: the released code's way (each
row sorted in full twice, then a loop over cycles with gathers from the sorted matrices), tensor
operations, and the kernel.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import TypeVar
from unittest import mock

import torch

from dsnot_exp.methods.patterns import Pattern, Unstructured
from dsnot_exp.methods.protocols import Initial
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.refine.dsnot import backend
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.methods.statistics import InputStatistics
from dsnot_exp.run.device import device_of
from tests.benchmarks.timing import interleaved, table

T = TypeVar("T")
Run = Callable[[], torch.Tensor]
RELEASED, PLAIN, KERNEL = "sort twice, loop with gathers", "tensor operations", "kernel"


def layer(rows: int, cols: int, device: torch.device) -> tuple[torch.Tensor, InputStatistics]:
    """Random numbers about as large as those of a 7B model's."""
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(rows, cols, generator=g) * 0.02
    mean = torch.randn(cols, generator=g) * 0.3
    var = (torch.rand(cols, generator=g) * 2 + 0.1).square()
    norm = (2048 * (var + mean.square())).sqrt()
    mean, var, norm = mean.to(device), var.to(device), norm.to(device)
    return weight.to(device), InputStatistics(128, 128 * 2048, mean, var, var, norm)


def sort_twice(
    weight: torch.Tensor, initial: Initial, statistics: InputStatistics, cycles: int
) -> torch.Tensor:
    """-> mask. Growing: one order of all signed scores, pruned weights only, taken from either
    end. Pruning: one order of all costs, signed by the contribution, taken from the middle out."""
    c = weight * (statistics.sequence_length * statistics.mean)
    error = c.masked_fill(initial.mask, 0).sum(1, keepdim=True, dtype=torch.float64)
    grown = (c / statistics.var).masked_fill(initial.mask, 0).sort(dim=1).indices
    cost = (weight.abs() * statistics.norm * c.sign()).masked_fill(~initial.mask, 0)
    ordered = cost.sort(dim=1)
    low = torch.zeros_like(error, dtype=torch.int64)  # the next one to grow, of either sign
    high = low + c.shape[1] - 1
    below = (ordered.values < 0).sum(1, keepdim=True) - 1  # the cheapest of either sign
    above = (ordered.values <= 0).sum(1, keepdim=True)
    mask = initial.mask.clone()
    for _ in range(cycles):
        positive = error > 0
        g = grown.gather(1, torch.where(positive, high, low))
        at = torch.where(positive, below, above).clamp(0, c.shape[1] - 1)
        p = ordered.indices.gather(1, at)
        active = (error.abs() > 0.1) & mask.gather(1, p) & ~mask.gather(1, g)
        mask.scatter_(1, g, mask.gather(1, g) | active)
        mask.scatter_(1, p, mask.gather(1, p) & ~active)
        error += (c.gather(1, p).double() - c.gather(1, g).double()) * active
        up, down = active & positive, active & ~positive
        high, below = high - up.long(), below - up.long()
        low, above = low + down.long(), above + down.long()
    return mask


def plain(run: Callable[[], T]) -> T:
    """`run` with the kernel out of reach."""
    with mock.patch.object(backend, "usable", return_value=False):
        return run()


def ways(
    weight: torch.Tensor, statistics: InputStatistics, pattern: Pattern, method: DSnoT
) -> dict[str, Run]:
    """What makes a new mask (out, in) of Wanda's. The released code's way is for unstructured
    sparsity only, and the kernel is absent where it cannot run."""
    initial = Wanda()(weight, statistics, pattern, True)

    def refine() -> torch.Tensor:
        return method(weight, initial, statistics, pattern, torch.Generator()).mask

    found: dict[str, Run] = {}
    if isinstance(pattern, Unstructured):
        cycles = method.cycles(weight.shape[1])
        found[RELEASED] = functools.partial(sort_twice, weight, initial, statistics, cycles)
    found[PLAIN] = functools.partial(plain, refine)
    if backend.usable(weight):
        found[KERNEL] = refine
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    numbers = {"rows": 2048, "cols": 2048, "cycles": 50, "threads": 1, "repeats": 7}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--sparsity", type=float, default=0.6)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = device_of(options.device)

    pattern = Unstructured(options.sparsity)
    weight, statistics = layer(options.rows, options.cols, device)
    runs = ways(weight, statistics, pattern, DSnoT(max_cycles=options.cycles))
    medians = interleaved(runs, options.repeats)
    expected = runs[RELEASED]()
    lines = []
    for name, seconds in medians.items():
        alike = (runs[name]() == expected).all(1).float().mean().item()
        ratio = f"{medians[RELEASED] / seconds:.1f}x"
        lines.append((name, f"{seconds * 1e3:.1f}", ratio, f"{alike:.1%}"))
    if KERNEL not in runs:
        lines.append((KERNEL, "no GPU", "", ""))
    print(
        f"{options.rows} x {options.cols}, {options.sparsity:.0%} sparse, {options.cycles} cycles, "
        f"{device.type}, {options.threads} threads, median of {options.repeats}\n"
    )
    print(table(("way", "ms", "as fast", "rows with the same mask"), lines))


if __name__ == "__main__":
    main()
