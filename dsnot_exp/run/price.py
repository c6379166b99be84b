"""What a run is likely to cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Price:
    """Seconds of the parts of a run; None: not known.

    walk: through the blocks, for its own result; initial: for the `pruned` stage
    evaluation: of the perplexities of one stage
    """

    walk: float | None = None
    initial: float | None = None
    evaluation: float | None = None
