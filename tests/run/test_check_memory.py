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
        (["prune=wanda", "allocate=fisher", "allocate.samples=1"], 2),
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


def test_a_search_keeps_the_matrices_of_all_inputs_and_the_weights_twice(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrices = 3 * 4 * 2 * (32**2 + WIDEST**2)  # three blocks
    weights = 3 * 2 * 2 * (4 * 32 * 32 + 3 * 32 * WIDEST)
    monkeypatch.setattr(check_memory, "total_memory", lambda device: matrices + weights - 1)
    toy = [*toy_arguments(tmp_path), "prune=wanda", "refine=none", "allocate=linear"]
    done = command(*toy)
    assert done.code == 2
    assert "allocate=linear: the matrices of all inputs and the weights twice take" in done.err
    assert command(*toy, "allocate.pruner=wanda", "allocate.slopes=2").code == 0
