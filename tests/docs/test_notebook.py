"""docs/notebook.ipynb runs, and what it shows is what it computes."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from tests.docs.notebook import NOTEBOOK, executed, outputs

FIGURE = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.])")
PATH = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users|opt|mnt)/")


def test_the_notebook_is_stored_with_its_outputs_and_without_paths() -> None:
    text = NOTEBOOK.read_text("utf-8")
    assert not PATH.search(text)
    cells = [c for c in nbformat.reads(text, as_version=4).cells if c.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert len(text) < 200_000


def test_the_notebook_runs_and_shows_the_stored_figures(tmp_path: Path) -> None:
    """Perplexities in the last digits depend on the processor."""
    stored = nbformat.read(NOTEBOOK, as_version=4).cells
    compared = 0
    for before, now in zip(stored, executed(tmp_path).cells, strict=True):
        if before.cell_type != "code" or "perplexity" not in outputs(before):
            continue
        shown, found = (FIGURE.findall(outputs(cell)) for cell in (before, now))
        assert [float(x) for x in found] == pytest.approx([float(x) for x in shown], rel=0.02)
        compared += len(shown)
    assert compared == 3
