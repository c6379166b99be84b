"""What the run calls: hands each event to every tracker, numbers it, and repeats none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dsnot_exp.results.tracking.background import Background
from dsnot_exp.results.tracking.ledger import Ledger
from dsnot_exp.results.tracking.tracker import Begun, Event, Tracker
from dsnot_exp.results.tracking.values import account_values, block_values, by_block, metric_values
from dsnot_exp.walk.record import Solved
from dsnot_exp.walk.sparsified import Sparsified

FINISH_S, CRASH_S = 180.0, 30.0  # to wait for a tracker; of W&B longer than its own limit
Key = tuple[str, int | None, str]  # stage, block, name
log = logging.getLogger(__name__)


class Tracking:
    """trackers: by the name of the option; none in all processes but the first
    account: seconds, memory and restarts so far
    """

    def __init__(
        self,
        trackers: dict[str, Tracker],
        begun: Begun,
        ledger: Ledger,
        account: Callable[[], dict[str, Any]],
    ) -> None:
        self.ledger, self.account = ledger, account
        self.known: set[Key] = set()  # what has been reported
        for event in ledger.events:
            self.known |= _keys(event.stage, event.block, event.values)
        self.backgrounds = [Background(name, tracker) for name, tracker in trackers.items()]
        for background in self.backgrounds:
            background.order("start", begun, list(ledger.events))

    def block(self, stage: str, index: int, solved: Solved) -> None:
        """A block is solved."""
        if self.backgrounds:
            self._add(stage, index, block_values(stage, solved))

    def blocks(self, stage: str, sparse: Sparsified) -> None:
        """All blocks are solved, some of them perhaps by an earlier process or another run."""
        for index, solved in by_block(sparse).items():
            self.block(stage, index, solved)

    def measured(self, stage: str, group: str, name: str, value: Any) -> None:
        """A data set or a task is evaluated. group: perplexity, zero_shot"""
        if self.backgrounds:
            self._add(stage, None, metric_values(stage, group, name, value))

    def stage(self, stage: str, found: dict[str, dict[str, Any]]) -> None:
        """All metrics of a stage are known. found: group -> name -> value"""
        for group, values in found.items():
            for name, value in values.items():
                self.measured(stage, group, name, value)

    def finish(self, result: dict[str, Any], figure: Path | None) -> dict[str, str]:
        """The result is written. Returns a line of each tracker, by its name."""
        if result["status"] != "finished":  # a retry's events come after what is added here
            self._put("end", None, {})
        return self._end("finish", result, figure)

    def crash(self, exit_code: int) -> None:
        """The run ends without a result."""
        self._end("crash", exit_code)

    def _end(self, method: str, *arguments: Any) -> dict[str, str]:
        ending, self.backgrounds = self.backgrounds, []
        for background in ending:
            background.order(method, *arguments)
        patience = FINISH_S if method == "finish" else CRASH_S
        answers = {background.name: background.end(patience) for background in ending}
        return {name: answer for name, answer in answers.items() if answer is not None}

    def _add(self, stage: str, block: int | None, values: dict[str, float]) -> None:
        new = {n: v for n, v in values.items() if (stage, block, n) not in self.known}
        if not new:
            return
        self._put(stage, block, new)

    def _put(self, stage: str, block: int | None, values: dict[str, float]) -> None:
        self.known |= _keys(stage, block, values)
        account = account_values(self.account())
        event = Event(len(self.ledger.events), stage, block, values, account)
        try:
            self.ledger.add(event)
        except OSError as error:  # the run's own state says what to do about a full disk
            log.warning("events of the run: %s", error)
        for background in self.backgrounds:
            background.order("log", event)


def _keys(stage: str, block: int | None, values: Iterable[str]) -> set[Key]:
    return {(stage, block, name) for name in values}
