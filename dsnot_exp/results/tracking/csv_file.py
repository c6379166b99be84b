"""All values of a run in one file: a line per value, for pandas or a spreadsheet."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from dsnot_exp.results.tracking.tracker import Begun, Event
from dsnot_exp.utils.files import write_atomically

NAME = "progress.csv"
HEAD = ("event", "seconds", "stage", "block", "name", "value")
TOTAL = "timing_s/total"


class CsvFile:
    """Writes a line per value at once. A resumed run keeps the lines of the events that it has."""

    def __init__(self) -> None:
        self.path = Path()

    def start(self, begun: Begun, earlier: list[Event]) -> None:
        self.path = begun.folder / NAME
        text = _text([HEAD]) + "".join(map(_lines, earlier))
        write_atomically(self.path, text.encode())

    def log(self, event: Event) -> None:
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(_lines(event))

    def finish(self, result: dict[str, Any], figure: Path | None) -> str:
        return str(self.path)

    def crash(self, exit_code: int) -> None: ...


def _lines(event: Event) -> str:
    values = {**event.values, **event.account}
    block = "" if event.block is None else event.block
    seconds = event.account.get(TOTAL, "")
    return _text(
        (event.number, seconds, event.stage, block, name, value) for name, value in values.items()
    )


def _text(rows: Any) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
