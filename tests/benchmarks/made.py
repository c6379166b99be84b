"""A walk of a model whose blocks are made on the fly: no checkpoint, any shape on one device.

    python -m tests.benchmarks.made --shape 70b                            one GPU of 80 GB
    python -m tests.benchmarks.made --shape 70b --layers 4 --methods wanda,wanda+dsnot
    python -m tests.benchmarks.made --shape tiny --sequences 4 --tokens 64          to try it

The embeddings, the norm and the head of a random Llama are on the device; a block's weights are
made there when the walk comes to it and are gone when it has left. Prints a Markdown table with a
line per method: the parameters of the whole shape, the layers that were walked, seconds by phase of
a block that is neither the first nor the last ("all" is more than their sum: it has the measurement
of errors too), peak memory, and where the hidden states of the calibration sequences were kept.
Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.streamed import empty
from dsnot_exp.utils import accelerator
from dsnot_exp.walk.hidden_states import Storage, choose_place
from tests.benchmarks import streaming
from tests.benchmarks.models import fill, fill_around, hollow_llama, random_ids
from tests.benchmarks.timing import machine, table
from tests.benchmarks.walks import Walk, method_pass, plan_of_method

DTYPE = "bfloat16"
GIB = 2**30
SHOWN = {
    "make": "load", "calibrate": "calibrate", "prune": "prune", "refine": "refine", "all": "all",
}  # fmt: skip
HEAD = (
    "method", "model", "parameters, billions", "layers", "device",
    *(f"{phase}, s/block" for phase in SHOWN),
    "peak device, GiB", "peak resident, GiB", "hidden states",
)  # fmt: skip


def main() -> None:
    options = arguments()
    lines = []
    for method in options.methods.split(","):
        plan = plan_of_method(method, options, options.relative_error)
        made = Made(options.shape, options.layers, plan.device)
        config = made.model.config
        ids = random_ids(config.vocab_size, options.sequences, options.tokens, plan.device)
        size = ids.numel() * config.hidden_size * made.model.dtype.itemsize
        place, begin = choose_place("auto", size, plan.device), time.perf_counter()

        def report(done: int, begin: float = begin) -> None:
            passed = time.perf_counter() - begin
            print(f"{passed:.1f} s: {done} blocks solved", file=sys.stderr, flush=True)

        walk = method_pass(made, ids, plan, storage=Storage(place), on_block=report)
        lines.append([method, *cells(made, walk), place])
    print(table(HEAD, lines))


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=streaming.SHAPES, default="70b")
    parser.add_argument("--layers", type=int, default=3, help="walk the first so many, 3 or more")
    parser.add_argument("--sequences", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--methods", default="wanda+dsnot", help="with commas between them")
    parser.add_argument("--sparsity", type=float, default=0.6)
    parser.add_argument("--max-cycles", type=int, default=50)
    parser.add_argument("--relative-error", default="sample")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    if options.layers < 3:
        parser.error(f"--layers {options.layers}: 3 or more, so that one is neither first nor last")
    return options


class Made(Placed):
    """A random Llama on `device`, but for its blocks, which `fetch` makes and leaves hollow."""

    def __init__(self, shape: str, layers: int, device: torch.device, dtype: str = DTYPE) -> None:
        model = hollow_llama(streaming.configuration(shape, None), dtype, device)
        name, every = find_blocks(model)
        super().__init__(model, (name, every[:layers]), device, whole=False)
        self.shape, self.layers = shape, f"{len(self.blocks[1])} of {len(every)}"
        self._index = {id(block): i for i, block in enumerate(every)}
        fill_around(model, every, device)

    @contextmanager
    def fetch(self, block: nn.Module) -> Iterator[nn.Module]:
        """The same weights whenever a block is fetched."""
        fill(block.modules(), self.device, self._index[id(block)])
        try:
            yield block
        finally:
            empty(block)


def cells(made: Made, walk: Walk) -> list[str]:
    """Those of HEAD between the method and the place of the hidden states."""
    on_device = f"{walk.memory['peak_device_bytes'] / GIB:.2f}"
    return [
        made.shape, f"{made.model.num_parameters() / 1e9:.2f}", made.layers, machine(made.device),
        *(f"{walk.middle(phase):.2f}" for phase in SHOWN.values()),
        on_device if accelerator.is_accelerator(made.device) else "no GPU",
        f"{walk.memory['peak_rss_bytes'] / GIB:.2f}",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
