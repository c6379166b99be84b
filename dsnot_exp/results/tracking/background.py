"""A tracker in a thread of its own: the run neither waits for it nor fails with it."""

from __future__ import annotations

import logging
from queue import SimpleQueue
from threading import Thread
from typing import Any

from dsnot_exp.results.tracking.tracker import Tracker
from dsnot_exp.utils.console import say

log = logging.getLogger(__name__)


class Background:
    """Calls the tracker's methods in order. After its first exception it is told nothing more.

    answer: of `finish`, or why it failed
    """

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name, self.tracker = name, tracker
        self.answer: str | None = None
        self.failed = False
        self._orders: SimpleQueue[tuple[str, tuple[Any, ...]] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def order(self, method: str, *arguments: Any) -> None:
        self._orders.put((method, arguments))

    def end(self, patience_s: float) -> str | None:
        """Wait for the tracker's last call, at most so many seconds. Returns its answer."""
        self._orders.put(None)
        self._thread.join(patience_s)
        if self._thread.is_alive():
            self.failed = True
            return f"not finished after {patience_s:.0f} s; what it has written stays"
        return self.answer

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            method, arguments = order
            if self.failed:
                continue
            try:
                self.answer = getattr(self.tracker, method)(*arguments)
            except Exception as error:  # whatever it is, the run goes on
                log.exception("%s", self.name)
                self.failed = True
                self.answer = f"not logged: {(str(error).splitlines() or [repr(error)])[0]}"
                if method != "finish":  # whose answer is printed anyway
                    say(f"warning   {self.name} {self.answer}")
