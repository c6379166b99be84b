"""How each layer is made sparse: the methods and what they are told."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dsnot_exp.methods.allocate.uniform import Uniform
from dsnot_exp.methods.allocation import Allocator, Searcher, Surveyor
from dsnot_exp.methods.block_protocols import BlockReconstructor
from dsnot_exp.methods.patterns import Pattern
from dsnot_exp.methods.protocols import Needs, Pruner, Reconstructor, Refiner, candidates
from dsnot_exp.methods.reconstruct.none import Keep
from dsnot_exp.methods.refine.guard import guards, measured_with
from dsnot_exp.methods.statistics import UNCORRECTED, Statistic, Target

# relative_error -> the statistics it is measured with
MEASURED_WITH: dict[str, Needs] = {
    "sample": frozenset({Statistic.SAMPLE}),
    "true": frozenset({Statistic.GRAM}),
    "false": frozenset(),
}


@dataclass(frozen=True)
class Recipe:
    """pattern: of the whole model; `allocator` gives each layer its own
    block_reconstructor: trains the kept weights of each block once its layers are sparse
    target: alpha and beta of the corrected target
    relative_error: measure ||(W - W^)X||^2 / ||WX||^2 on a `sample` of the calibration tokens, on
        all of them (`true`), or not (`false`)
    min_tokens: an expert that saw fewer tokens is pruned by magnitude and not refined
    seed: of the methods that draw random numbers
    """

    pattern: Pattern
    pruner: Pruner
    refiner: Refiner | None = None
    reconstructor: Reconstructor = field(default_factory=Keep)
    block_reconstructor: BlockReconstructor | None = None
    allocator: Allocator | Surveyor | Searcher = field(default_factory=Uniform)
    target: Target = UNCORRECTED
    relative_error: str = "sample"
    min_tokens: int = 32
    seed: int = 0

    @property
    def methods(self) -> list[Pruner | Refiner | Reconstructor]:
        stages = (self.pruner, self.refiner, self.reconstructor)
        return [method for method in stages if method is not None]

    @property
    def moves(self) -> bool:
        """Whether a method may change weights that it keeps."""
        keeps = isinstance(self.reconstructor, Keep) and self.block_reconstructor is None
        return not keeps or bool(getattr(self.pruner, "moves", False))

    @property
    def needs(self) -> Needs:
        """The statistics to collect; none where no method needs any."""
        needs = self._needs_of_methods
        if not needs and self.block_reconstructor is None:
            return needs
        if self.guarded_with is not None:
            needs |= {self.guarded_with}
        needs = (needs | self._followed) - {Statistic.TARGET}
        # Every layer's expected error is recorded, which takes the mean.
        return needs | {Statistic.MEAN} | MEASURED_WITH[self.relative_error]

    @property
    def _needs_of_methods(self) -> Needs:
        return frozenset().union(*(method.needs for method in self.methods))

    @property
    def guarded_with(self) -> Statistic | None:
        """What the refiner's guard measures errors with; None without a guard. It depends on what
        methods need, and not on what `relative_error` collects."""
        return measured_with(self._needs_of_methods) if guards(self.refiner) else None

    @property
    def corrects(self) -> bool:
        """Whether a method makes use of a corrected target."""
        return any(Statistic.TARGET in method.needs for method in self.methods)

    @property
    def _followed(self) -> Needs:
        """The statistics of the dense stream."""
        wanted = {Statistic.DRIFT: self.target.alpha, Statistic.RESIDUAL_DRIFT: self.target.beta}
        return frozenset(one for one, share in wanted.items() if share and self.corrects)

    @property
    def dense_stream(self) -> bool:
        """Whether the dense model's hidden states are needed beside the sparse model's."""
        return bool(self._followed) or self.block_reconstructor is not None

    @property
    def holds_out(self) -> bool:
        """Whether sequences are held out, to choose on."""
        return bool(candidates(self.refiner)) or self.block_reconstructor is not None

    @property
    def rows_independent(self) -> bool:
        """Whether processes may share out the rows of a weight."""
        return all(method.rows == "independent" for method in self.methods)

    @property
    def reconstructs(self) -> bool:
        """Whether the kept weights of each layer are solved for, under its final mask."""
        return not isinstance(self.reconstructor, Keep)

    def initializer_only(self) -> Recipe:
        """The recipe of the `pruned` baseline: the initial mask, and no step after it."""
        alone = replace(self, refiner=None, reconstructor=Keep(), block_reconstructor=None)
        return alone if alone.corrects else replace(alone, target=UNCORRECTED)
