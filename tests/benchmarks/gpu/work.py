"""How long a subject will take, from the rates that were measured on the card. A forecast: it only
decides what still fits into the time."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tests.benchmarks.streaming import SHAPES

REACHED = 0.5  # of the rate of one large product, by a forward or a solver
LEAF = 8  # launches per column of SparseGPT
SWAP = 40  # launches per step of an exchange
PASSES = 12  # over a layer's matrix in float32, per step of an exchange
EPOCHS, TRAINED = 4, 3  # of block-wise reconstruction; forwards that a step with gradients takes
ALPS, CG = 32, 13  # products (out, in) x (in, in)


@dataclass(frozen=True)
class Rates:
    """Of the card: operations per second in the model's dtype and in float32, bytes per second of a
    copy on it, seconds per launch, bytes per second from disk. The defaults are of a slow card."""

    products: float = 5e13
    single: float = 1e13
    copies: float = 3e11
    launch: float = 2e-5
    disk: float = 5e8


@dataclass(frozen=True)
class Work:
    """Operations in the model's dtype and in float32, bytes that are copied on the card, launches
    one after the other, bytes from disk, and seconds that depend on no rate."""

    products: float = 0
    single: float = 0
    copied: float = 0
    launches: float = 0
    read: float = 0
    seconds: float = 0

    def __add__(self, other: Work) -> Work:
        names = [field.name for field in fields(self)]
        return Work(*(getattr(self, name) + getattr(other, name) for name in names))

    def __mul__(self, times: float) -> Work:
        return Work(*(times * getattr(self, field.name) for field in fields(self)))

    def on(self, rates: Rates) -> float:
        """Seconds on a card of these rates."""
        products = self.products / rates.products + self.single / rates.single
        moved = self.copied / rates.copies + self.read / rates.disk
        return products / REACHED + moved + self.launches * rates.launch + self.seconds


@dataclass(frozen=True)
class Block:
    """A Llama's block. layers: (out, in) each; inputs: the widths of its distinct inputs"""

    layers: list[tuple[int, int]]
    inputs: list[int]

    @classmethod
    def of(cls, shape: str) -> Block:
        hidden, intermediate, _, heads, kv = SHAPES[shape]
        keys = hidden // heads * kv
        attention = [(hidden, hidden), (keys, hidden), (keys, hidden), (hidden, hidden)]
        mlp = [(intermediate, hidden), (intermediate, hidden), (hidden, intermediate)]
        return cls(attention + mlp, [hidden, hidden, hidden, intermediate])

    @property
    def weights(self) -> int:
        return sum(out * width for out, width in self.layers)

    @property
    def applied(self) -> float:
        """Operations of a product of each layer's weight with its Gram matrix."""
        return float(sum(2 * out * width**2 for out, width in self.layers))

    @property
    def gram(self) -> float:
        """Entries of the Gram matrices."""
        return float(sum(width**2 for width in self.inputs))


def forward(shape: str, sequences: int, tokens: int) -> Work:
    """Of one block."""
    weights = Block.of(shape).weights
    attention = 2 * tokens * SHAPES[shape][0]
    return Work(products=2.0 * sequences * tokens * (weights + attention))


def of_method(method: str, shape: str, sequences: int, tokens: int) -> Work:
    """Of one block. method: as tests.benchmarks.walks, or `floor`"""
    block, parts = Block.of(shape), method.split("+")
    once, done = forward(shape, sequences, tokens), Work(seconds=0.1)
    columns = sum(width for _, width in block.layers)
    needs_gram = {"sparsegpt", "alps", "swaps", "cg", "target"} & {*parts}
    streams = 1 if {"target", "block"} & {*parts} else 0
    done += once * (2 + streams)
    if needs_gram:
        grams = (1 + 4 * ("target" in parts)) * sequences * tokens * block.gram
        cubes = 2.0 * sum(width**3 for width in block.inputs)
        done += Work(products=grams, single=cubes)
    if "sparsegpt" in parts:
        done += Work(single=block.applied, launches=LEAF * columns)
    if "alps" in parts:
        inverses = 4 * 2.0 * sum(width**3 for _, width in block.layers)
        done += Work(single=ALPS * block.applied + inverses)
    if "cg" in parts:
        done += Work(single=CG * block.applied)
    for name, steps in (("swaps", columns / 4), ("moments", 80.0 * len(block.layers))):
        if name in parts:
            entries = block.weights / len(block.layers)
            done += Work(launches=SWAP * steps, copied=4 * PASSES * entries * steps)
    if "block" in parts:
        done += once * (EPOCHS * TRAINED)
    return done
