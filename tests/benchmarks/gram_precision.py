"""How exact a Gram matrix of bfloat16 inputs must be: three ways to add it up, on a real model.

    python -m tests.benchmarks.gram_precision --model smollm2-q4 --text FILE

ours       products of bfloat16 numbers, sums in float32
copied     float32 copies of the inputs
rounded    torch's bfloat16 products, whose sums over a sequence are rounded to bfloat16

Columns: the largest error of an entry, relative to the diagonal entries of its row and column; the
damping that SparseGPT needed; and its relative layer error at 60 %, all by the exact Gram matrix.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dsnot_exp.methods.gram import add_gram, mirror
from dsnot_exp.methods.patterns import Unstructured
from dsnot_exp.methods.prune.sparsegpt import SparseGPT, inverse_factor
from dsnot_exp.methods.statistics import Accumulator, InputStatistics
from dsnot_exp.models.blocks import find_blocks
from tests.benchmarks.models import real_model
from tests.benchmarks.timing import machine, table

WAYS = ("ours", "copied", "rounded")


def main() -> None:
    options = arguments()
    model, ids = real_model(options, options.text)
    rows = []
    for name, weight, inputs in layers(model, ids, options.every):
        rows.append([name, *compared(weight, inputs)])
        print(" ".join(rows[-1]), flush=True)
    head = [f"{what}, {way}" for what in ("error", "damping", "layer error") for way in WAYS]
    print(f"\n{machine(model.device)}, {model.dtype}, {ids.numel()} tokens\n")
    print(table(["layer", *head], rows))


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-q4", help="an entry of conf/model")
    parser.add_argument("--text", default="tinyworld", help="calib.dataset")
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--every", type=int, default=5, help="blocks from one to the next")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


@torch.no_grad()
def layers(model: Any, ids: Tensor, every: int) -> list[tuple[str, Tensor, Tensor]]:
    """Some blocks' linears with distinct inputs: name, weight (out, in), inputs (sequences, tokens,
    in) of the dense model."""
    seen: dict[str, list[Tensor]] = {}
    weights: dict[str, Tensor] = {}
    handles = []
    for index, block in list(enumerate(find_blocks(model)[1]))[::every]:
        for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"):
            linear, full = block.get_submodule(name), f"{index}.{name}"
            weights[full] = linear.weight

            def keep(module: Any, args: tuple[Tensor, ...], key: str = full) -> None:
                seen.setdefault(key, []).append(args[0].clone())

            handles.append(linear.register_forward_pre_hook(keep))
    for batch in ids.split(4):
        model(input_ids=batch, use_cache=False)
    for handle in handles:
        handle.remove()
    return [(name, weights[name], torch.cat(inputs)) for name, inputs in seen.items()]


def compared(weight: Tensor, inputs: Tensor) -> list[str]:
    """The table's cells for one layer."""
    flat = inputs.flatten(0, 1).double()
    exact = flat.T @ flat / len(flat)
    scale = exact.diagonal().clamp_min(1e-30).rsqrt()
    accumulator = Accumulator(inputs.shape[-1], SparseGPT.needs, inputs.device)
    accumulator.update(inputs)
    statistics = accumulator.finish()
    errors, dampings, lost = [], [], []
    for way in WAYS:
        gram = added_up(way, inputs) / len(flat)
        off = ((gram.double() - exact) * scale[:, None] * scale).abs().max()
        errors.append(f"{float(off):.0e}")
        dampings.append(f"{inverse_factor(gram, SparseGPT().damping)[1]:g}")
        lost.append(f"{layer_error(weight, exact, replace(statistics, gram=gram, derived={})):.5f}")
    return [*errors, *dampings, *lost]


def added_up(way: str, inputs: Tensor) -> Tensor:
    if way == "rounded":
        return torch.stack([(x.T @ x).float() for x in inputs]).sum(0)
    gram = torch.zeros(inputs.shape[-1], inputs.shape[-1], device=inputs.device)
    add_gram(gram, inputs if way == "ours" else inputs.float())
    return mirror(gram)


def layer_error(weight: Tensor, exact: Tensor, statistics: InputStatistics) -> float:
    found = SparseGPT()(weight.float(), statistics, Unstructured(0.6), False)
    dense = weight.double()
    lost = dense - torch.where(found.mask, found.weight, 0).double()
    return float(((lost @ exact) * lost).sum() / ((dense @ exact) * dense).sum())


if __name__ == "__main__":
    main()
