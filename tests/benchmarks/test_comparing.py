"""The comparison of sparse models: what the figures in docs/agreement.md are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.benchmarks import agreement
from tests.benchmarks.authors import OneLess
from tests.benchmarks.comparing import HEAD, percent, row
from tests.support.command import toy_arguments


def test_a_saved_model_is_compared_with_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dense model in place of another program's: half of the entries differ."""
    case = ["--case", "prune=wanda refine=none sparsity=0.5", "--saved", str(tmp_path / "toy")]
    words = ["agreement", *case, *toy_arguments(tmp_path), "model.dtype=float32"]
    monkeypatch.setattr("sys.argv", words)
    agreement.main()
    cells = capsys.readouterr().out.strip().splitlines()[-1].strip("| ").split(" | ")
    assert cells[1:4] == ["50.0000 %"] * 3
    assert cells[6].split(" of ")[0] == cells[6].split(" of ")[1]  # every row
    assert float(cells[7]) != float(cells[8])


def test_differing_entries_are_counted_by_block() -> None:
    same, one = torch.tensor([[True, False]]), torch.tensor([[True, True]])
    cells = row("x", [{"a": same}, {"a": one}], [{"a": same}, {"a": same}], [], 10.0, 11.0)
    assert dict(zip(HEAD[:3], cells, strict=False)) == {
        "method": "`x`",
        "equal entries, block 0": "100 %",
        "all blocks, mean": "75.0000 % (1)",
    }
    assert cells[3:] == ["50.0000 % (1)", "", "", "1 of 2", "10.0000", "11.0000", "+10.00 %"]


def test_one_differing_entry_is_never_rounded_to_all() -> None:
    assert percent(1, 10**9) == "99.9999 % (1)"


def test_one_weight_less_is_asked_for() -> None:
    assert int(128 * OneLess(0.5)) == 63
    assert int(10 * OneLess(0.37)) == 2
