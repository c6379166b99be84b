"""What the walker does to one block: prune, refine, reconstruct, and note the error per layer."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from dsnot_exp.errors import RunError
from dsnot_exp.models.linears import is_routed, matches
from dsnot_exp.patterns import Pattern, check_budget, packed
from dsnot_exp.plan import Plan
from dsnot_exp.products import product
from dsnot_exp.prune import Initial, Magnitude, Pruner
from dsnot_exp.refine import Refined, expected_error
from dsnot_exp.statistics import GRAM, SAMPLE, InputStatistics
from dsnot_exp.walk import Block

# relative_error -> the statistics that it is measured with
MEASURED_WITH = {"sample": {SAMPLE}, "true": {GRAM}, "false": set[str]()}
NOTES_SHOWN = 8  # one line each; a model with thousands of experts would bury its result


@dataclass(frozen=True)
class LayerRecord:
    """One linear layer: its budget, and its error before and after refinement.

    expected: mean over rows of |e_r|; relative: ||(W - W^)X||^2 / ||WX||^2 over so many
    calibration tokens. None where the statistics were not collected.
    """

    layer: str
    weights: int
    zeros: int
    expected_before: float | None = None
    expected_after: float | None = None
    relative_before: float | None = None
    relative_after: float | None = None
    relative_tokens: int | None = None
    swaps: int = 0
    cycles: int = 0

    def reconstruction(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k not in ("weights", "zeros")}


@dataclass
class BlockSolver:
    """Solves a block as the plan says; with `refine=False` the initial masks stay."""

    plan: Plan
    refine: bool
    timed: Callable[[str], AbstractContextManager[None]]
    on_layer: Callable[[str], None] = lambda layer: None
    on_note: Callable[[str], None] = lambda note: None
    records: list[LayerRecord] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._masks = hashlib.sha256()
        self.refiner = self.plan.refiner if self.refine else None
        methods = (self.plan.pruner, self.refiner, self.plan.reconstructor)
        needs = frozenset().union(*(m.needs for m in methods if m is not None))
        if needs:  # the mean is that of the expected error, which is always noted
            needs |= {"mean", *MEASURED_WITH[self.plan.config.relative_error]}
        self.needs = needs

    @property
    def masks_sha256(self) -> str:
        """Over every layer's name, shape and mask, in the order of the walk."""
        return self._masks.hexdigest()

    def __call__(self, block: Block, statistics: dict[str, InputStatistics]) -> None:
        for name, linear in block.linears.items():
            layer = f"{block.name}.{name}"
            self.on_layer(layer)
            record, sparse, mask = self._solve(name, layer, linear.weight, statistics.get(name))
            if not bool(torch.isfinite(sparse.sum(dtype=torch.float32))):
                raise RunError(f"{layer}: its weights hold NaN or infinity after pruning")
            linear.write(sparse)
            self.records.append(record)
            self._masks.update(f"{layer}{tuple(mask.shape)}".encode())
            self._masks.update(packed(mask))

    def _solve(
        self, name: str, layer: str, weight: Tensor, statistics: InputStatistics | None
    ) -> tuple[LayerRecord, Tensor, Tensor]:
        """weight: (out, in) -> its record, its sparse weight and its mask, (out, in) both."""
        pattern, pruner = self.plan.allocator(layer, self.plan.pattern), self.plan.pruner
        assert pruner is not None
        if self._starved(name, layer, statistics):
            statistics, pruner = None, Magnitude(scope="row")
        initial = self._prune(pruner, layer, weight, statistics, pattern)
        with self.timed("refine"):
            refined = self._refine(name, layer, weight, initial, statistics, pattern)
        mask = initial.mask if refined is None else refined.mask
        # A kept weight has its present value, a grown one comes back with its dense value.
        moved = initial.weight is not weight
        present = torch.where(initial.mask, initial.weight, weight) if moved else weight
        sparse = torch.where(mask, present, 0)
        with self.timed("reconstruct"):
            sparse = self.plan.reconstructor(weight, sparse, mask, statistics)
        record = LayerRecord(layer, mask.numel(), mask.numel() - int(mask.count_nonzero()))
        if statistics is not None:
            how = self.plan.config.relative_error
            record = _measure(record, weight, initial, sparse, refined, statistics, how)
        return record, sparse, mask

    def _starved(self, name: str, layer: str, statistics: InputStatistics | None) -> bool:
        """Whether a layer is an expert to which too few tokens were sent to tell its statistics:
        it is pruned by magnitude, row by row, and not refined."""
        tokens = 0 if statistics is None else statistics.tokens
        starved = (
            bool(self.needs) and is_routed(name) and tokens < self.plan.config.calib.min_tokens
        )
        if starved:
            but = ", not refined" if self.refiner is not None else ""
            self._note(layer, f"calibration tokens seen: {tokens}; pruned by magnitude{but}")
        return starved

    def _note(self, layer: str, note: str) -> None:
        self.notes[layer] = note
        if len(self.notes) <= NOTES_SHOWN:
            more = "; further notes: result.json" if len(self.notes) == NOTES_SHOWN else ""
            self.on_note(f"{layer}: {note}{more}")

    def _prune(
        self,
        pruner: Pruner,
        layer: str,
        weight: Tensor,
        statistics: InputStatistics | None,
        pattern: Pattern,
    ) -> Initial:
        try:
            with self.timed("prune"):
                initial = pruner(weight, statistics, pattern, self.refiner is not None)
        except ArithmeticError as error:
            raise RunError(f"{layer}: {error}") from error
        if initial.note:
            self._note(layer, initial.note)
        return initial

    def _refine(
        self,
        name: str,
        layer: str,
        weight: Tensor,
        initial: Initial,
        statistics: InputStatistics | None,
        pattern: Pattern,
    ) -> Refined | None:
        if self.refiner is None or statistics is None:  # none: an expert that saw too little
            return None
        if any(matches(name, glob) for glob in self.refiner.skip):
            return None
        # A generator of the layer's own: neither the order of jobs nor of layers plays a part.
        seed = zlib.crc32(f"{self.plan.config.seed}:{layer}".encode())
        generator = torch.Generator().manual_seed(seed)
        refined = self.refiner(weight, initial, statistics, pattern, generator)
        check_budget(initial.mask, refined.mask, pattern)
        return refined


def _measure(
    record: LayerRecord,
    weight: Tensor,
    initial: Initial,
    sparse: Tensor,
    refined: Refined | None,
    statistics: InputStatistics,
    how: str,
) -> LayerRecord:
    if refined is None:
        before = after = expected_error(weight, initial, statistics)
        swaps = torch.zeros_like(before)
    else:
        before, after, swaps = refined.error_before, refined.error_after, refined.swaps
    pruned = torch.where(initial.mask, initial.weight, 0)
    tokens, relative = relative_errors(weight, (pruned, sparse), statistics, how)
    return LayerRecord(
        record.layer,
        record.weights,
        record.zeros,
        expected_before=float(before.abs().mean()),
        expected_after=float(after.abs().mean()),
        relative_before=relative[0],
        relative_after=relative[1],
        relative_tokens=tokens,
        swaps=int(swaps.sum()),
        cycles=int(swaps.max()),
    )


def relative_errors(
    dense: Tensor, sparse: tuple[Tensor, Tensor], statistics: InputStatistics, how: str
) -> tuple[int | None, tuple[float | None, float | None]]:
    """||(W - W^)X||^2 / ||WX||^2 of two sparse weights, and over how many tokens.

    dense, sparse: (out, in); how: `sample`, `true` (all tokens) or `false` (not at all)
    """
    seen = {"sample": statistics.sample, "true": statistics.gram}.get(how)
    if seen is None:
        return None, (None, None)
    tokens = len(seen) if how == "sample" else statistics.tokens

    def energy(matrix: Tensor) -> float:
        if how == "sample":
            return float(product(seen, matrix.T).square().sum(dtype=torch.float64))
        matrix = matrix.float()  # tr(W G W^T)
        return float(((matrix @ seen) * matrix).sum(dtype=torch.float64))

    whole = energy(dense)
    if whole == 0:
        return tokens, (0.0, 0.0)
    first = energy(dense - sparse[0]) / whole
    same = torch.equal(*sparse)  # nothing was refined
    return tokens, (first, first if same else energy(dense - sparse[1]) / whole)
