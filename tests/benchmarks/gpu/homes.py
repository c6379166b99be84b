"""Where the random Llama is whose blocks are walked: whole on the device, in a checkpoint on disk,
or nowhere: its blocks are made on the fly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dsnot_exp.config import ModelConfig
from dsnot_exp.models.open import open_model
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.source import Source
from tests.benchmarks.gpu.bench import Bench
from tests.benchmarks.gpu.disk import checkpoint, checkpoint_bytes, forget_pages, to_make
from tests.benchmarks.gpu.work import Work, of_method
from tests.benchmarks.made import Made
from tests.benchmarks.models import whole_llama
from tests.benchmarks.streaming import SHAPES, configuration

FEW = 2  # micro-batches of the warm-up


@dataclass(frozen=True)
class Home:
    """shape: of tests.benchmarks.streaming; layers: of its blocks that are walked; open: gives the
    dense model, anew for each pass"""

    group: str
    shape: str
    layers: int
    open: Callable[[Bench], Placed]

    @property
    def of(self) -> int:
        """The blocks that the shape has."""
        return SHAPES[self.shape][2]

    def work(self, method: str, bench: Bench) -> Work:
        """Of making the model, the warm-up and one pass."""
        each = of_method(method, self.shape, bench.sequences, bench.tokens)
        first = of_method(method, self.shape, FEW, bench.tokens)
        opening = Work(seconds=2)
        if self.group == "streamed":
            opening += to_make(bench) + Work(read=2.0 * checkpoint_bytes(bench))
        return each * self.layers + first + opening


def whole(bench: Bench) -> Placed:
    config = configuration(bench.sizes.whole, bench.sizes.layers)
    return whole_llama(config, bench.dtype, bench.device)


def streamed(bench: Bench) -> Placed:
    folder = checkpoint(bench)
    options = ModelConfig(name="random", dtype=bench.dtype, streaming="true")
    placed = open_model(Source(str(folder)), options, bench.device)
    forget_pages(folder)
    return placed


def on_the_fly(bench: Bench) -> Placed:
    return Made(bench.sizes.large, bench.sizes.large_layers, bench.device, bench.dtype)
