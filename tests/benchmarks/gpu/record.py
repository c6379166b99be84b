"""What was measured: one JSON file, rewritten after each subject, and the page beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.files import write_atomically
from tests.benchmarks.gpu.bench import Row
from tests.benchmarks.gpu.cells import WITHOUT
from tests.benchmarks.gpu.page import page

SCHEMA = 1
JSON, PAGE = "gpu.json", "gpu.md"
SAME = ("schema", "options", "machine", "versions")  # of figures that may stand in one table


@dataclass
class Record:
    """found: the content of gpu.json

    schema, options, machine, versions, packages_missing, code, used_by_others_bytes, seconds
    sequences: of calibration that the time allowed; null: not chosen yet
    measured: by subject its rows, the code they were measured with, and seconds; peak memory
    failed, refused, skipped: by subject, why there is no figure
    running: the subject that is being measured, or was when the process was killed
    """

    folder: Path
    found: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, about: dict[str, Any], again: bool) -> Record:
        """about: of this call, what `SAME` names and more. Raises RequestError if the folder holds
        figures of other options or of another machine, unless they are measured `again`."""
        about = {"schema": SCHEMA, **about}
        fresh: dict[str, Any] = {"sequences": None, "running": None, "seconds": 0.0}
        fresh |= {kind: {} for kind in ("measured", *WITHOUT)}
        folder.mkdir(parents=True, exist_ok=True)
        earlier = None if again else cls._read(folder / JSON)
        if earlier is None:
            return cls(folder, {**about, **fresh})
        for key in SAME:
            if earlier.get(key) != json.loads(json.dumps(about[key])):
                raise RequestError(
                    f"--out {folder}: {JSON} holds figures of another {key.removesuffix('s')} "
                    f"({_unlike(earlier.get(key), about[key])}); choose another folder, or --again"
                )
        return cls(folder, {**fresh, **earlier, **about})

    @staticmethod
    def _read(path: Path) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise RequestError(f"{path}: not readable ({error}); remove it, or --again") from error
        return found

    @property
    def rows(self) -> dict[str, list[Row]]:
        return {name: one["rows"] for name, one in self.found["measured"].items()}

    def has(self, name: str) -> bool:
        return name in self.found["measured"]

    def begin(self, name: str) -> None:
        self.found["running"] = name
        self.write()

    def measured(self, name: str, result: dict[str, Any]) -> None:
        self._end(name)
        self.found["measured"][name] = {**result, "code": self.found["code"]}

    def without_figure(self, kind: str, name: str, why: str) -> None:
        """kind: of WITHOUT"""
        self._end(name)
        self.found[kind][name] = why

    def _end(self, name: str) -> None:
        self.found["running"] = None
        for kind in ("measured", *WITHOUT):
            self.found[kind].pop(name, None)

    def write(self) -> None:
        text = json.dumps(self.found, indent=1)
        write_atomically(self.folder / JSON, text.encode())
        write_atomically(self.folder / PAGE, page(self.found).encode())


def _unlike(earlier: Any, now: Any) -> str:
    """The first key that differs, with both values."""
    if not isinstance(earlier, dict) or not isinstance(now, dict):
        return f"{earlier}, now {now}"
    keys: Iterable[str] = sorted({*earlier, *now})
    key = next(key for key in keys if earlier.get(key) != now.get(key))
    return f"{key} {earlier.get(key)}, now {now.get(key)}"
