"""What the walker does to one block: prune, refine, reconstruct, and note the error per layer."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dsnot_exp.errors import RunError
from dsnot_exp.measure import LayerRecord, measure
from dsnot_exp.models.linears import is_routed, matches
from dsnot_exp.patterns import Pattern, check_budget, packed
from dsnot_exp.plan import Plan
from dsnot_exp.prune import Initial, Magnitude, Pruner
from dsnot_exp.ranks import ALONE, over
from dsnot_exp.refine import Refined
from dsnot_exp.statistics import GRAM, SAMPLE, InputStatistics
from dsnot_exp.walk import Block

# relative_error -> the statistics that it is measured with
MEASURED_WITH = {"sample": {SAMPLE}, "true": {GRAM}, "false": set[str]()}
NOTES_SHOWN = 8  # one line each; a model with thousands of experts would bury its result


@dataclass
class Solved:
    """What came of a block besides its weights.

    notes: by layer, what its method had to do otherwise
    masks: eight entries to a byte, by the layer's name and shape
    """

    records: list[LayerRecord] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    masks: dict[str, Tensor] = field(default_factory=dict)


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
        # Random criteria draw for a whole matrix: there every process works on all of its rows.
        drawn = "random" in (getattr(self.refiner, "grow", ""), getattr(self.refiner, "prune", ""))
        self.ranks = ALONE if drawn else self.plan.ranks

    @property
    def masks_sha256(self) -> str:
        """Over every layer's name, shape and mask, in the order of the walk."""
        return self._masks.hexdigest()

    def add(self, solved: Solved) -> None:
        """Count a block: in the order of the walk."""
        self.records += solved.records
        self.notes |= solved.notes
        for name, mask in solved.masks.items():
            self._masks.update(name.encode())
            self._masks.update(mask.numpy().tobytes())

    def __call__(self, block: Block, statistics: dict[str, InputStatistics]) -> Solved:
        solved, before = Solved(), set(self.notes)
        for name, linear in block.linears.items():
            layer = f"{block.name}.{name}"
            self.on_layer(layer)
            record, sparse, mask = self._solve(name, layer, linear.weight, statistics.get(name))
            if not bool(torch.isfinite(sparse.sum(dtype=torch.float32))):
                raise RunError(f"{layer}: its weights hold NaN or infinity after pruning")
            linear.write(sparse)
            solved.records.append(record)
            bits = torch.frombuffer(bytearray(packed(mask)), dtype=torch.uint8)
            solved.masks[f"{layer}{tuple(mask.shape)}"] = bits
        solved.notes = {name: note for name, note in self.notes.items() if name not in before}
        self.add(solved)
        return solved

    def _solve(
        self, name: str, layer: str, weight: Tensor, statistics: InputStatistics | None
    ) -> tuple[LayerRecord, Tensor, Tensor]:
        """weight: (out, in) -> its record, its sparse weight and its mask, (out, in) both. Each
        process works on its share of the rows."""
        ranks, pruner = self.ranks, self.plan.pruner
        assert pruner is not None
        weight = weight[ranks.share(len(weight))]
        pattern = over(self.plan.allocator(layer, self.plan.pattern), ranks)
        if self._starved(name, layer, statistics):
            statistics, pruner = None, Magnitude(scope="row")
        initial = self._prune(pruner, layer, weight, statistics, pattern)
        with self.timed("refine"):
            refined = self._refine(name, layer, weight, initial, statistics, pattern)
        mask = initial.mask if refined is None else refined.mask
        # A kept weight has its present value, a grown one comes back with its dense value.
        moved = initial.weight is not weight
        present = torch.where(initial.mask, initial.weight, weight) if moved else weight
        sparse = present.masked_fill(~mask, 0)
        with self.timed("reconstruct"):
            sparse = self.plan.reconstructor(weight, sparse, mask, statistics)
        record = LayerRecord(layer)
        if statistics is not None:
            how = self.plan.config.relative_error
            record = measure(layer, weight, initial, sparse, refined, statistics, how, ranks)
        sparse, mask = ranks.concat(sparse), ranks.concat(mask)
        zeros = mask.numel() - int(mask.count_nonzero())
        return replace(record, weights=mask.numel(), zeros=zeros), sparse, mask

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
