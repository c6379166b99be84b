"""The same results as elsewhere: masks as on the CPU, and the kernel's as those of tensor
operations."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch

from dsnot_exp.methods.patterns import NM, Pattern, Unstructured
from dsnot_exp.methods.protocols import Refined
from dsnot_exp.methods.prune.wanda import Wanda
from dsnot_exp.methods.refine.dsnot import backend
from dsnot_exp.methods.refine.dsnot.method import DSnoT
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import linears
from dsnot_exp.models.placement import Placed
from tests.benchmarks.comparing import Zeros, unequal, zeros
from tests.benchmarks.gpu.bench import Bench, Refused, Row, Subject
from tests.benchmarks.gpu.work import Work
from tests.benchmarks.models import random_ids, whole_llama
from tests.benchmarks.refiner import layer, plain
from tests.benchmarks.streaming import configuration
from tests.benchmarks.walks import method_pass, plan_of_method

METHODS = ("wanda", "wanda+dsnot", "sparsegpt")
CPU = torch.device("cpu")
VARIANTS: dict[str, dict[str, Any]] = {
    "dsnot": {},
    "dsnot_official": {"variance": "sequence", "only_better": "never", "used_up": "run_on"},
}


def kernel(bench: Bench) -> list[Row]:
    """Masks, errors and swaps of DSnoT's kernel against those of tensor operations."""
    rows: list[Row] = []
    for width in bench.sizes.kernel_widths:
        for pattern in (Unstructured(bench.sparsity), NM(2, 4)):
            for dtype in (torch.float32, getattr(torch, bench.dtype)):
                for variant, options in VARIANTS.items():
                    method = DSnoT(max_cycles=bench.max_cycles, **options)
                    rows.append(
                        {
                            "width": width,
                            "pattern": str(pattern),
                            "dtype": str(dtype).removeprefix("torch."),
                            "refine": variant,
                            **compared(bench, width, pattern, dtype, method),
                        }
                    )
    return rows


def compiling(bench: Bench) -> Work:
    """Each width, pattern, dtype and variant is a kernel of its own; Triton compiles it."""
    kernels = 2 * 2 * len(VARIANTS) * len(bench.sizes.kernel_widths)
    return Work(seconds=3 + (1.5 * kernels if bench.on_accelerator else 0))


def compared(bench: Bench, width: int, pattern: Pattern, dtype: torch.dtype, method: DSnoT) -> Row:
    weight, statistics = layer(bench.sizes.kernel_rows, width, bench.device)
    weight = weight.to(dtype)
    initial = Wanda()(weight, statistics, pattern, True)
    refine = partial(method, weight, initial, statistics, pattern, torch.Generator())
    name = kernel_of(weight)
    ours, theirs = refine(), plain(refine)
    if kernel_of(weight) != name:
        raise Refused("the kernel failed, and tensor operations took its place")
    return {
        "kernel": name,
        "rows": len(weight),
        "entries": weight.numel(),
        "swaps": int(theirs.swaps.sum()),
        "unequal": int((ours.mask != theirs.mask).sum()),
        "unequal_rows": differing(ours, theirs),
    }


def kernel_of(weight: torch.Tensor) -> str:
    """The kernel that refines this weight. There must be one."""
    name = backend.kernel(weight.device, weight.dtype)
    if name == "torch":
        raise Refused("no kernel runs here: without Triton, tensor operations do all")
    return name


def differing(ours: Refined, theirs: Refined) -> int:
    """Rows that differ in an entry, in the number of swaps, or in a bit of the error."""
    unlike = (ours.mask != theirs.mask).any(1) | (ours.swaps != theirs.swaps)
    return int((unlike | (ours.error_after != theirs.error_after)).sum())


def masks(dtype: str, bench: Bench) -> list[Row]:
    """Entries of the masks that differ from those that the CPU makes of the same weights and
    tokens. Sums are rounded in another order, so that near ties may fall the other way."""
    sizes = bench.sizes
    config = configuration(sizes.small, None)
    ids = random_ids(config.vocab_size, sizes.small_sequences, sizes.small_tokens, CPU)
    dense = whole_llama(config, dtype, CPU).model
    rows = []
    for method in METHODS:
        here, there = (
            of_blocks(bench, method, copy.deepcopy(dense), ids, device)
            for device in (bench.device, CPU)
        )
        each = [unequal(*pair) for pair in zip(there, here, strict=True)]
        entries = [sum(mask.numel() for mask in block.values()) for block in here]
        rows.append(
            {
                "method": method,
                "dtype": dtype,
                "entries": sum(entries),
                "unequal": sum(each),
                "entries_first_block": entries[0],
                "unequal_first_block": each[0],
            }
        )
    return rows


def of_blocks(
    bench: Bench, method: str, model: torch.nn.Module, ids: torch.Tensor, device: torch.device
) -> list[Zeros]:
    """The zeros of each block, in memory, of the model that was made sparse on `device`."""
    placed = Placed(model.to(device), find_blocks(model), device)
    method_pass(placed, ids, plan_of_method(method, bench, "false"))
    blocks = [zeros(linears(block)) for block in placed.blocks[1]]
    return [{name: mask.cpu() for name, mask in block.items()} for block in blocks]


SUBJECTS = [
    Subject("kernel/as tensor operations", kernel, compiling),
    *(Subject(f"masks/{dtype}", partial(masks, dtype)) for dtype in ("float32", "bfloat16")),
]
