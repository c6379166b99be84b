"""State of another run, of other code, or of another number of processes is not used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dsnot_exp.run import state
from dsnot_exp.run.state import RunState
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.walk.solver import BlockSolver
from dsnot_exp.walk.view import BlockView
from tests.support.command import Command, toy_arguments


class Stopped(BaseException):
    """As sudden as kill -9: nothing handles it."""


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The blocks that are solved; the third one ends the run."""
    names: list[str] = []
    solve = BlockSolver.__call__

    def spied(self: BlockSolver, view: BlockView) -> object:
        if len(names) == 2:
            raise Stopped
        names.append(view.name)
        return solve(self, view)

    monkeypatch.setattr(BlockSolver, "__call__", spied)
    return names


def stopped(command: Command, *words: str) -> None:
    with pytest.raises(Stopped):
        command(*words)


def test_state_of_other_code_is_not_used(
    command: Command, tmp_path: Path, solved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = toy_arguments(tmp_path)
    for fingerprint in ("before", "after"):
        monkeypatch.setattr(state, "code_fingerprint", lambda code=fingerprint: code)
        solved.clear()
        stopped(command, *words)
        assert solved == ["model.layers.0", "model.layers.1"]
    solved.clear()
    again = command(*words)  # the same code: one block is left, or two if the last was not written
    assert again.code == 0, again.err
    assert "resuming at block" in again.out
    assert "model.layers.0" not in solved


def test_the_identity_is_that_of_run_code_and_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsnot_exp.config import Config
    from dsnot_exp.run.plan import make_plan

    config = Config(
        prune={"name": "wanda"},
        refine={"name": "dsnot"},
        allocate={"name": "uniform"},
        reconstruct={"name": "none"},
    )
    plan = make_plan(replace(config))
    monkeypatch.setattr(state, "code_fingerprint", lambda: "code")

    def identity(run: str = "run", processes: int = 1) -> str:
        changed = replace(plan, ranks=Ranks(0, processes))
        return RunState.of(tmp_path, run, changed).identity

    first = identity()
    assert identity() == first
    assert len({first, identity(run="other"), identity(processes=2), identity(processes=3)}) == 4
    monkeypatch.setattr(state, "code_fingerprint", lambda: "other code")
    assert identity() != first
