"""What the methods cost above the floor: two forwards of all tokens through every block.

    python -m tests.benchmarks.overhead --hidden 1024 --layers 4 --sequences 16 --tokens 512
    python -m tests.benchmarks.overhead --model smollm2-q4 --sequences 32

A random Llama, or a model of conf/model in its own dtype; one run, everything interleaved. What
captures the inputs of the first block is part of the floor and of every method: the embeddings, and
a forward of two tokens through one block. `--authors` is a checkout of github zyxxmu/DSnoT,
measured on the same model and tokens.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from dsnot_exp.config import DTYPES
from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.placement import Placed
from dsnot_exp.utils import accelerator
from tests.benchmarks.authors import wanda_dsnot
from tests.benchmarks.models import random_llama, real_model
from tests.benchmarks.timing import finish, interleaved, machine, table
from tests.benchmarks.walks import floor_pass, method_pass, plan_of_method

PHASES = ("calibrate", "prune", "refine", "reconstruct")
FLOOR, AUTHORS = "floor", "authors' code, wanda+dsnot"


def main() -> None:
    options = arguments()
    model, ids = real_model(options) if options.model else random_llama(options)
    placed = Placed(model, find_blocks(model), model.device)
    phases: dict[str, list[dict[str, float]]] = {}
    subjects: dict[str, Callable[[], object]] = {FLOOR: lambda: floor_pass(placed, ids)}
    for method in options.methods.split(","):
        for relative_error in options.relative_error.split(","):
            plan = plan_of_method(method, options, relative_error)
            name = f"{method}, relative_error={relative_error}"
            phases[name] = []
            subjects[name] = lambda p=plan, n=name: phases[n].append(
                method_pass(placed, ids, p).phases()
            )
    if options.authors:
        subjects[AUTHORS] = wanda_dsnot(
            options.authors, model, ids, options.sparsity, options.max_cycles
        )
    dense = {name: p.clone() for name, p in model.named_parameters()}
    seconds = interleaved(subjects, options.repeats, lambda: restore(model, dense))
    print(f"{machine(model.device)}, {model.dtype}, {ids.numel()} tokens")
    print(f"floor: {fraction_of_products(model, ids, seconds[FLOOR]):.0%} of the product rate\n")
    print(table(["method", "seconds", "over the floor", *PHASES, "rest"], rows(seconds, phases)))


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", help="an entry of conf/model, in its own dtype, on tinyworld's stories"
    )
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--intermediate", type=int, default=2816)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--dtype", default="float32", choices=[d for d in DTYPES if d != "auto"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sparsity", type=float, default=0.6)
    parser.add_argument("--max-cycles", type=int, default=50)
    parser.add_argument("--methods", default="wanda,wanda+dsnot,sparsegpt,sparsegpt+dsnot")
    parser.add_argument("--relative-error", default="false,sample")
    parser.add_argument("--authors", help="a checkout of github zyxxmu/DSnoT")
    return parser.parse_args()


def restore(model: Any, dense: dict[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(dense[name])


def fraction_of_products(model: Any, ids: Tensor, seconds: float) -> float:
    """The floor's products per second, as a fraction of what one large product reaches."""
    weights = sum(p.numel() for p in find_blocks(model)[1].parameters() if p.dim() > 1)
    attention = 2 * ids.shape[1] * model.config.hidden_size * model.config.num_hidden_layers
    done = 2 * 2 * ids.numel() * (weights + attention)
    size = 8192 if accelerator.is_accelerator(model.device) else 2048
    square = torch.randn(size, size, device=model.device, dtype=model.dtype)
    best = interleaved({"product": lambda: square @ square}, repeats=5)["product"]
    finish()
    return (done / seconds) / (2 * size**3 / best)


def rows(seconds: dict[str, float], phases: dict[str, list[dict[str, float]]]) -> list[list[str]]:
    found = []
    for name, total in seconds.items():
        over = "" if name == FLOOR else f"{100 * (total / seconds[FLOOR] - 1):.1f} %"
        parts = [median(p[k] for p in phases[name][1:]) for k in PHASES] if name in phases else []
        rest = [*parts, total - sum(parts)] if parts else []
        shown = [f"{part:.2f}" for part in rest] or [""] * (len(PHASES) + 1)
        found.append([name, f"{total:.2f}", over, *shown])
    return found


if __name__ == "__main__":
    main()
