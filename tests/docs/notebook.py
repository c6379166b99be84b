"""Runs docs/notebook.ipynb from top to bottom.

python -m tests.docs.notebook      runs it and writes its outputs into the file
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
LIMIT_S = 900  # for one cell, on a busy machine


def executed(folder: Path) -> Any:
    """The notebook with the outputs of a run in `folder`; an error in a cell is raised."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    changes = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "JUPYTER_PLATFORM_DIRS": "1"}
    changes["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm's, about ipywidgets
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=LIMIT_S, kernel_name="python3", resources=resources)
    with mock.patch.dict(os.environ, changes):
        return client.execute()


def outputs(cell: Any) -> str:
    """What a cell has printed and returned, as text."""
    texts = [out.get("text") or out.get("data", {}).get("text/plain", "") for out in cell.outputs]
    return "".join(texts)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        notebook = executed(Path(folder))
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
    notebook.metadata.pop("language_info", None)
    nbformat.write(notebook, NOTEBOOK)
    print(f"{NOTEBOOK}: {sum(cell.cell_type == 'code' for cell in notebook.cells)} cells")


if __name__ == "__main__":
    sys.exit(main())
