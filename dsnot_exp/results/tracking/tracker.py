"""What a tracker is told about a run, and what it has to answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Begun:
    """A run that starts or resumes.

    folder: of the run; config: resolved, without private values
    identity: one per run and sweep, so that a resumed run and a rerun continue the same one
    """

    folder: Path
    config: dict[str, Any]
    identity: str


@dataclass(frozen=True)
class Event:
    """Values that are known at one moment of the run.

    number: counts the events of a run from 0, also over its processes
    stage: dense, pruned, refined; block: index of the solved block; None for metrics of the stage
    values: by name, with "/" between the parts of a name
    account: seconds and bytes so far, by name; they belong to no block and no stage
    """

    number: int
    stage: str
    block: int | None
    values: dict[str, float]
    account: dict[str, float] = field(default_factory=dict)


class Tracker(Protocol):
    """A place that a run is reported to. Each is called from one thread of its own. It may raise:
    then it is not called again, and the run goes on."""

    def start(self, begun: Begun, earlier: list[Event]) -> None:
        """The run has passed its checks. earlier: the events of its earlier processes"""

    def log(self, event: Event) -> None: ...

    def finish(self, result: dict[str, Any], figure: Path | None) -> str:
        """The content of result.json, and the error plot. Returns where the records are, for the
        closing lines."""

    def crash(self, exit_code: int) -> None:
        """The run ends without a result."""
