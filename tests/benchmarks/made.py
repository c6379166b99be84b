"""A walk of a model whose blocks are made on the fly: no checkpoint, any shape on one device.

    python -m tests.benchmarks.made --shape 70b                            one GPU of 80 GB
    python -m tests.benchmarks.made --shape 70b --layers 4 --methods wanda,wanda+dsnot
    python -m tests.benchmarks.made --shape tiny --sequences 4 --tokens 64          to try it

The embeddings, the norm and the head of a random Llama are on the device; a block's weights are
made there when the walk comes to it and are gone when it has left. Prints a Markdown table with a
line per method: the parameters of the whole shape, the layers that were walked, seconds per block
by phase ("all" is more than their sum: it has the measurement of errors too), peak memory, and
where the hidden states of the calibration sequences were kept. Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.checkpoint import hollow
from dsnot_exp.models.source import Source
from dsnot_exp.models.streamed import empty
from dsnot_exp.run.clock import Clock
from dsnot_exp.run.plan import Plan, make_plan
from dsnot_exp.walk.hidden_states import Storage, choose_place
from dsnot_exp.walk.sparsify import sparsify
from tests.benchmarks import overhead, streaming
from tests.benchmarks.timing import finish, machine, table

DTYPE = "bfloat16"
GIB = 2**30
SHOWN = ("make", "calibrate", "prune", "refine", "all")
HEAD = (
    "method", "model", "parameters, billions", "layers", "device",
    *(f"{phase}, s/block" for phase in SHOWN),
    "peak device, GiB", "peak resident, GiB", "hidden states",
)  # fmt: skip


def main() -> None:
    options = arguments()
    lines = []
    for method in options.methods.split(","):
        plan = make_plan(overhead.configuration(method, options.relative_error, options))
        model = Made(options.shape, options.layers, plan.device)
        lines.append([method, *measured(model, plan, options)])
    print(table(HEAD, lines))


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=streaming.SHAPES, default="70b")
    parser.add_argument("--layers", type=int, help="walk the first so many only")
    parser.add_argument("--sequences", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--methods", default="wanda+dsnot", help="with commas between them")
    parser.add_argument("--sparsity", type=float, default=0.6)
    parser.add_argument("--max-cycles", type=int, default=50)
    parser.add_argument("--relative-error", default="sample")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


class Made:
    """A random Llama on `device`, but for its blocks, which `fetch` makes and leaves hollow. Stands
    in for a `Placed`."""

    def __init__(self, shape: str, layers: int | None, device: torch.device) -> None:
        self.shape, self.device = shape, device
        config = streaming.configuration(shape, None)
        self.model = hollow(Source("made"), config, [], DTYPE)
        name, every = find_blocks(self.model)
        self.blocks = name, nn.ModuleList(list(every)[:layers])
        self.layers = f"{len(self.blocks[1])} of {len(every)}"
        self._index = {id(block): i for i, block in enumerate(every)}
        self.dense: tuple[str, ...] = ()
        self.making: list[float] = []  # seconds, by call of `fetch`
        inside = set(every.modules())
        self._fill((m for m in self.model.modules() if m not in inside), len(every))
        for module in self.model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                module._buffers[name] = buffer.to(device)

    @contextmanager
    def fetch(self, block: nn.Module) -> Iterator[nn.Module]:
        """The same weights whenever a block is fetched."""
        finish()
        begin = time.perf_counter()
        self._fill(block.modules(), self._index[id(block)])
        finish()
        self.making.append(time.perf_counter() - begin)
        try:
            yield block
        finally:
            empty(block)

    def _fill(self, modules: Iterable[nn.Module], seed: int) -> None:
        generator = torch.Generator(self.device).manual_seed(seed)
        for module in modules:
            for name, absent in module.named_parameters(recurse=False):
                made = torch.ones_like(absent, device=self.device)
                if made.dim() > 1:
                    made.normal_(0, 0.02, generator=generator)
                module._parameters[name] = nn.Parameter(made, requires_grad=False)


def measured(made: Made, plan: Plan, options: Any) -> list[str]:
    """Walk through the blocks; all columns of the table but the method."""
    config, count = made.model.config, len(made.blocks[1])
    torch.manual_seed(0)
    shape = (options.sequences, options.tokens)
    ids = torch.randint(config.vocab_size, shape).to(plan.device)
    size = ids.numel() * config.hidden_size * made.model.dtype.itemsize
    place, layers = choose_place("auto", size, plan.device), list[str]()
    clock = Clock(plan.device)

    def report() -> None:
        passed = time.perf_counter() - clock.start
        print(f"{passed:.1f} s: {len(layers)} layers solved", file=sys.stderr, flush=True)

    storage = Storage(place)
    sparsify(
        made,
        ids,
        plan.recipe,
        storage=storage,
        on_block=report,
        on_layer=layers.append,
        timed=clock,
    )
    seconds, memory = clock.timing(), clock.memory()
    # To learn what a block returns the first one is made once more, on calibration's time.
    extra = sum(made.making[:-count])
    seconds |= {"make": sum(made.making), "all": seconds["total"]}
    seconds["make"] -= extra
    seconds["calibrate"] -= extra
    on_device = f"{memory['peak_device_bytes'] / GIB:.2f}"
    return [
        made.shape, f"{made.model.num_parameters() / 1e9:.2f}", made.layers, machine(plan.device),
        *(f"{seconds[phase] / count:.2f}" for phase in SHOWN),
        on_device if plan.device.type == "cuda" else "no GPU",
        f"{memory['peak_rss_bytes'] / GIB:.2f}", place,
    ]  # fmt: skip


if __name__ == "__main__":
    main()
