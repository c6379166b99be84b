"""Measures the stages of a run. What an earlier process of it, or another run, has measured is
taken from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dsnot_exp.config import STAGES
from dsnot_exp.evaluate.metrics import OfStage
from dsnot_exp.evaluate.store import Store
from dsnot_exp.evaluate.suite import Suite
from dsnot_exp.models.placement import Placed
from dsnot_exp.results.tracking.tracking import Tracking
from dsnot_exp.run.clock import Clock
from dsnot_exp.run.state import RunState

PRUNED = "pruned"


@dataclass
class Measurements:
    """shared: the measurements of the `pruned` stage that runs with the same initializer share
    tracking: where the run is reported while it goes
    """

    suite: Suite
    clock: Clock
    state: RunState
    shared: Store
    tracking: Tracking

    def evaluate(self, model: Placed, stage: str) -> None:
        with self.clock("evaluate"):
            self.suite(model, stage)

    def copy(self, source: str, target: str) -> None:
        """Copy metrics between two stages that are the same model by definition."""
        assert {source, target} <= set(STAGES)
        self._put(target, self.suite.metrics.of(source))

    def recall_pruned(self) -> bool:
        """Restore the metrics of the `pruned` stage that an earlier process of this run measured;
        False if none did."""
        found = self.state.recall(PRUNED)
        if found is not None:
            self._put(PRUNED, found)
        return found is not None

    def take_pruned_or(self, measure: Callable[[], None]) -> bool:
        """Take the metrics of the `pruned` stage from another run, and return True. Otherwise
        `measure` them, for later runs too."""

        def measured() -> OfStage:
            measure()
            return self.suite.metrics.of(PRUNED)

        found, reused = self._shared(measured)
        if reused:
            self._put(PRUNED, found)
            return True
        if not self.suite.failed:
            self.state.remember(PRUNED, self.suite.metrics.of(PRUNED))
        self.state.clear_stage(PRUNED)
        return False

    def share_pruned(self) -> None:
        """Keep the metrics of the `pruned` stage for other runs."""
        self._shared(lambda: self.suite.metrics.of(PRUNED))

    def _shared(self, measure: Callable[[], OfStage]) -> tuple[OfStage, bool]:
        stage = {"stage": PRUNED}
        return self.shared.get_or(stage, measure, complete=lambda: not self.suite.failed)

    def _put(self, stage: str, found: OfStage) -> None:
        self.suite.metrics.put(stage, found)
        self.tracking.stage(stage, found)
