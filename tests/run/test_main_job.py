"""The main job on the bundled model, offline, smaller than the default but through every part."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Command

TASKS = ["tw_where", "tw_holder", "tw_count", "tw_compare", "tw_refer", "tw_follows"]


def test_the_main_job(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSNOT_EXP_CACHE", str(tmp_path / "cache"))
    command.draws = True
    done = command("sparsity=0.7", "calib.samples=16", "eval.limit=12", "wandb=disabled")
    assert done.code == 0, done.err
    assert done.err == ""
    metrics = done.result["metrics"]
    assert sorted(metrics["zero_shot"]) == sorted(TASKS)
    for stages in metrics["zero_shot"].values():
        assert list(stages) == ["dense", "pruned", "refined"]
        for values in stages.values():
            assert 0 <= values["acc"] <= 1
            assert values["acc_stderr"] > 0 or values["acc"] in (0, 1)
            assert values["items"] == 12
            assert values["version"] == 1.0
    perplexity = metrics["perplexity"]["tinyworld"]
    assert perplexity["pruned"] > 1.1 * perplexity["dense"]
    budgets = done.result["sparsity"]["layers"].values()
    assert all(abs(budget - 0.7) < 0.005 for budget in budgets)
    assert (done.folder / "errors.png").stat().st_size > 10_000
    for column in ("dense", "pruned", "refined", "perplexity tinyworld", "accuracy tw_where"):
        assert column in done.out
