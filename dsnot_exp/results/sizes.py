"""What the weights of a run take on disk. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from dsnot_exp.results.file import MODEL

EXPORTS = "export"
WEIGHTS = "*.safetensors"


def sizes(run: Path) -> dict[str, int]:
    """Bytes of the weights in the run's folder: `model`, and `export/bitmask` and the like."""
    folders = [run / MODEL, *sorted((run / EXPORTS).glob("[!.]*"))]
    found = {folder.relative_to(run).as_posix(): weights(folder) for folder in folders}
    return {name: size for name, size in found.items() if size}


def weights(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob(WEIGHTS))
