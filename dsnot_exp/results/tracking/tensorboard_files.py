"""A run in TensorBoard's event files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dsnot_exp.results.tracking.tracker import Begun, Event

FOLDER = "tensorboard"
FLUSH_S = 10


class TensorBoardFiles:
    """Values of blocks are drawn against the block's index, all others against the number of the
    event. A resumed run adds a file with the later events; TensorBoard reads all of them."""

    def __init__(self) -> None:
        self.writer: Any = None
        self.folder = Path()

    def start(self, begun: Begun, earlier: list[Event]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.folder = begun.folder / FOLDER
        if not earlier:  # a new run, or a rerun
            for file in self.folder.glob("events.out.tfevents.*"):
                file.unlink()
        self.writer = SummaryWriter(str(self.folder), flush_secs=FLUSH_S)

    def log(self, event: Event) -> None:
        step = event.number if event.block is None else event.block
        for name, value in event.values.items():
            self.writer.add_scalar(name, value, step)
        for name, value in event.account.items():
            self.writer.add_scalar(name, value, event.number)
        self.writer.flush()

    def finish(self, result: dict[str, Any], figure: Path | None) -> str:
        self.writer.close()
        return f"to look at it: tensorboard --logdir {self.folder}"

    def crash(self, exit_code: int) -> None:
        self.writer.close()
