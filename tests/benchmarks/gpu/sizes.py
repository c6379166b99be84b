"""How large everything is that is measured: the papers' sizes, and tiny ones for a dry run."""

from __future__ import annotations

from dataclasses import dataclass

from tests.benchmarks import streaming


@dataclass(frozen=True)
class Sizes:
    """whole, large, small: names of shapes: of the model that is on the device whole and is
        streamed from disk; of the one whose blocks are made on the fly; of the one that is also
        pruned on the CPU
    layers, large_layers: how many of their blocks are measured
    sequences: of calibration; the largest number that the time allows is taken
    product: width of the square matrices that are multiplied; copied: bytes of a copy
    kernel_rows, kernel_widths: of the layers on which the kernel is compared with tensor operations
    batches: tokens that are multiplied with a 2:4 matrix at once
    repeats: of a measurement, at most
    """

    whole: str = "7b"
    large: str = "70b"
    small: str = "small"
    layers: int = 4
    large_layers: int = 3
    sequences: tuple[int, ...] = (128, 64, 32, 16)
    tokens: int = 2048
    small_sequences: int = 8
    small_tokens: int = 256
    product: int = 8192
    copied: int = 1 << 30
    kernel_rows: int = 512
    kernel_widths: tuple[int, ...] = (4096, 11008, 28672)
    batches: tuple[int, ...] = (1, 16, 256, 4096)
    repeats: int = 3

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """(out, in) of the layers that are refined and multiplied alone: an output projection of
        attention and a down projection."""
        hidden, intermediate, *_ = streaming.SHAPES[self.whole]
        return [(hidden, hidden), (hidden, intermediate)]


FULL = Sizes()
TINY = Sizes(
    whole="tiny",
    large="tiny",
    small="tiny",
    layers=3,
    sequences=(4,),
    tokens=64,
    small_sequences=4,
    small_tokens=64,
    product=256,
    copied=1 << 22,
    kernel_rows=16,
    kernel_widths=(128, 256),
    batches=(1, 16),
    repeats=2,
)
