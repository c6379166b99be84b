"""A run whose matrices cannot fit is refused before the weights are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsnot_exp.run import check_memory
from tests.support.command import Command, toy_arguments

WIDEST = 48  # inputs of the toy model's down_proj


@pytest.mark.parametrize(
    ("words", "matrices"),
    [
        (["prune=wanda"], 0),
        (["prune=sparsegpt"], 2),
        (["prune=alps"], 2),
        (["prune=alps", "calib.target.alpha=0.5"], 3),
        (["prune=alps", "calib.target.beta=0.5"], 2),
    ],
    ids=str,
)
def test_the_widest_input_decides(
    words: list[str],
    matrices: int,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toy = [*toy_arguments(tmp_path), *words, "refine=none"]
    monkeypatch.setattr(check_memory, "total_memory", lambda device: 4 * matrices * WIDEST**2)
    assert command(*toy).code == 0
    monkeypatch.setattr(check_memory, "total_memory", lambda device: 4 * matrices * WIDEST**2 - 1)
    monkeypatch.setattr("dsnot_exp.run.experiment.open_for", lambda *_: 1 / 0)  # not reached
    done = command(*toy, "rerun=true")
    if not matrices:
        assert "matrices" not in done.err
        return
    assert done.code == 2
    assert f"has {WIDEST} inputs, whose {matrices} matrices" in done.err
    assert len(done.err.splitlines()) == 1
