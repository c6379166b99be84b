"""The options of the pruners that have any. They need no torch: options are checked before it is
imported."""

from __future__ import annotations

from dataclasses import dataclass

SCOPES = ("auto", "row", "matrix")
SCHEDULES = {"short": 20, "full": 300}  # ALPS: the iterations of each, at most


@dataclass(frozen=True)
class MagnitudeOptions:
    """`scope`: compare weights within a `row` or over the whole `matrix`. `auto` does what
    the released code does: `row` if a refiner follows, else `matrix`."""

    scope: str = "auto"

    def __post_init__(self) -> None:
        _refuse_unknown("scope", self.scope, SCOPES)

    def compared_over(self, equal_rows: bool) -> str:
        """`row` or `matrix`; equal_rows: a refiner follows."""
        return ("row" if equal_rows else "matrix") if self.scope == "auto" else self.scope


@dataclass(frozen=True)
class RIAOptions(MagnitudeOptions):
    """power: of the input norm (a in the paper); 0 leaves the relative importance alone
    scope: as for magnitude; `auto` is `row` if a refiner follows, else the released `matrix`
    """

    power: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.power < float("inf"):
            raise ValueError(f"power={self.power}: expected 0 or more")


@dataclass(frozen=True)
class SparseGPTOptions:
    """block: columns (128 in the paper) whose mask is chosen together, by a threshold over all rows
    damping: added to the diagonal of H, as a fraction of its mean
    update_weights: false keeps the mask and the dense weights
    """

    block: int = 128
    damping: float = 0.01
    update_weights: bool = True

    @property
    def moves(self) -> bool:
        """Whether it changes weights that it keeps."""
        return self.update_weights

    def __post_init__(self) -> None:
        if self.block < 1:
            raise ValueError(f"block={self.block}: expected 1 or more columns")
        if not 0 <= self.damping < float("inf"):
            raise ValueError(f"damping={self.damping}: expected 0 or more")


@dataclass(frozen=True)
class ALPSOptions:
    """schedule: `short`, 20 iterations; `full`, the paper's, up to 300
    iterations: at most; the schedule's own if not given
    penalty: rho in the first iteration, the pull towards the sparse weight
    damping: added to the diagonal of the normalised Gram matrix, which is 1
    cg_steps: steps of conjugate gradients on the final mask
    """

    schedule: str = "short"
    iterations: int | None = None
    penalty: float = 0.1
    damping: float = 0.01
    cg_steps: int = 5

    @property
    def moves(self) -> bool:
        """Whether it changes weights that it keeps."""
        return True

    def __post_init__(self) -> None:
        _refuse_unknown("schedule", self.schedule, tuple(SCHEDULES))
        if self.iterations is not None and self.iterations < 1:
            raise ValueError(f"iterations={self.iterations}: expected 1 or more")
        if not 0 < self.penalty < float("inf"):
            raise ValueError(f"penalty={self.penalty}: expected more than 0")
        if not 0 <= self.damping < float("inf"):
            raise ValueError(f"damping={self.damping}: expected 0 or more")
        if self.cg_steps < 0:
            raise ValueError(f"cg_steps={self.cg_steps}: expected 0 or more")


def _refuse_unknown(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{key}={value}: choose from {', '.join(choices)}")
