"""The measurements of a run, by what was measured and the stage of the model."""

from __future__ import annotations

from typing import Any

OfStage = dict[str, dict[str, Any]]  # perplexity, zero_shot -> data set or task -> value


class Metrics(dict[str, dict[str, dict[str, Any]]]):
    """perplexity, zero_shot -> data set or task -> stage -> value"""

    def __init__(self) -> None:
        super().__init__(perplexity={}, zero_shot={})

    def of(self, stage: str) -> OfStage:
        return {
            kind: {name: stages[stage] for name, stages in found.items() if stage in stages}
            for kind, found in self.items()
        }

    def put(self, stage: str, found: OfStage) -> None:
        """Add what `of` returned for this stage in another process, or for another stage."""
        for kind, values in found.items():
            for name, value in values.items():
                self.add(kind, name, stage, value)

    def add(self, kind: str, name: str, stage: str, value: Any) -> None:
        self[kind].setdefault(name, {})[stage] = value
