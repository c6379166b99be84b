"""The events of a run, kept in its state until it is finished: a resumed run repeats none, and a
tracker whose records start anew with each process is told the earlier ones."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from dsnot_exp.results.tracking.tracker import Event
from dsnot_exp.utils.files import write_atomically

NAME = "events.jsonl"


class Ledger:
    """One JSON line per event; the first line is the identity of the state.

    folder: of the state; None: nothing is kept
    """

    def __init__(self, folder: Path | None, identity: str) -> None:
        self.path = None if folder is None else folder / NAME
        self.identity = identity
        self.events = self._read()

    def add(self, event: Event) -> None:
        self.events.append(event)
        if self.path is not None:
            self._append(event)

    def _read(self) -> list[Event]:
        """The events of earlier processes. A line that a kill has cut off is dropped."""
        if self.path is None or not self.path.exists():
            return []
        text = self.path.read_text("utf-8")
        head, *lines = text.split("\n")
        events = []
        for line in lines[:-1] if head == self.identity else []:  # a whole line ends with \n
            try:
                events.append(Event(**json.loads(line)))
            except (ValueError, TypeError):
                break
        if text != (kept := self._lines(events)):
            write_atomically(self.path, kept.encode())
        return events

    def _append(self, event: Event) -> None:
        assert self.path is not None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(self._lines([event]) if new else _line(event))

    def _lines(self, events: list[Event]) -> str:
        return f"{self.identity}\n" + "".join(map(_line, events))


def _line(event: Event) -> str:
    return f"{json.dumps(asdict(event))}\n"
