"""Cache of measurements of dense and sparse models. With it, a table of 54 runs evaluates each
dense model only once."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.utils.files import write_atomically

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """One small JSON file per measurement.

    common: what all measurements depend on, such as the model's content and the code's versions
    folder: None disables the cache
    fresh: ignore cached values and measure again
    ranks: the processes that measure together; the first one reads and writes the cache
    on_keep: called after a measurement, before it is written
    """

    folder: Path | None
    common: dict[str, Any] = field(default_factory=dict)
    fresh: bool = False
    ranks: Ranks = ALONE
    on_keep: Callable[[], None] = lambda: None

    def get_or(
        self,
        what: dict[str, Any],
        measure: Callable[[], T],
        complete: Callable[[], bool] = lambda: True,
    ) -> tuple[T, bool]:
        """Return (value, True) if `what` is cached. Otherwise measure it, write it, and return
        (value, False). A measurement that is not `complete` is not written."""
        if self.folder is None:
            return measure(), False
        key = {**self.common, **what}
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        path = self.folder / f"{digest[:32]}.json"
        found: list[T] = self.ranks.of_first(self._look(path) if self.ranks.first else [])
        if found:
            log.info("reusing %s: %s", path, what)
            return found[0], True
        value = measure()
        if self.ranks.first and complete():
            self.on_keep()
            self._keep(path, key, value)
        return value, False

    def _look(self, path: Path) -> list[Any]:
        """The cached value as a list of one, or an empty list."""
        if not path.exists() or self.fresh:
            return []
        try:
            return [json.loads(path.read_text("utf-8"))["value"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("cannot read %s (%r); measuring again", path, error)
            return []

    def _keep(self, path: Path, key: dict[str, Any], value: Any) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps({"key": key, "value": value}, indent=1).encode())
        except OSError as error:
            log.warning("cannot write %s (%s)", path, error)
