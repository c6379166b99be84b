"""A finished block in the journal: its records, and the digests of its files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import xxhash

from dsnot_exp.utils.files import write_atomically
from dsnot_exp.walk.record import BlockFit, Choice, LayerRecord


@dataclass(frozen=True)
class FinishedBlock:
    """weights, masks, states: digests of these files. batch: sequences per micro-batch"""

    weights: str
    masks: str
    states: str
    batch: int
    records: list[LayerRecord]
    notes: dict[str, str]
    choice: Choice | None
    fit: BlockFit | None = None
    moved: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write JSON, preceded by its own digest."""
        text = json.dumps(asdict(self)).encode()
        write_atomically(path, _seal(text) + b"\n" + text)

    @classmethod
    def read(cls, path: Path) -> FinishedBlock:
        """Raises OSError, ValueError or TypeError if the file is not what `write` wrote."""
        seal, _, text = path.read_bytes().partition(b"\n")
        if _seal(text) != seal:
            raise ValueError("its bytes are not those that were written")
        told = json.loads(text)
        told["records"] = [LayerRecord(**record) for record in told["records"]]
        told["choice"] = None if told["choice"] is None else Choice(**told["choice"])
        told["fit"] = None if told["fit"] is None else BlockFit(**told["fit"])
        return cls(**told)


def _seal(text: bytes) -> bytes:
    return xxhash.xxh3_128_hexdigest(text).encode()
