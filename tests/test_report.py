"""The table of a folder of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsnot_exp.report.__main__ import load, markdown


def result(sparsity: float, cycles: int, value: float) -> dict:
    return {
        "schema": 1,
        "config": {"sparsity": sparsity, "refine": {"max_cycles": cycles}, "sweep": f"{value}"},
        "sparsity": {"achieved": sparsity},
        "metrics": {
            "perplexity": {"text": {"refined": value}},
            "zero_shot": {"task": {"refined": {"acc": 0.5}}},
            "reconstruction": [],
        },
    }


def test_a_row_per_run_in_the_order_of_what_varies(tmp_path: Path) -> None:
    runs = [result(0.6, 10, 3.0), result(0.5, 10, 2.0), result(0.6, 2, 1.0)]
    for number, run in enumerate(runs):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "result.json").write_text(json.dumps(run))
    assert markdown(load(tmp_path)).splitlines() == [
        "| sparsity | refine.max_cycles | achieved | text refined | task refined |",
        "| --- | --- | ---: | ---: | ---: |",
        "| 0.5 | 10 | 0.5 | 2 | 0.5 |",
        "| 0.6 | 2 | 0.6 | 1 | 0.5 |",
        "| 0.6 | 10 | 0.6 | 3 | 0.5 |",
    ]


def test_what_cannot_be_read_is_named_and_the_rest_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {"a": json.dumps(result(0.5, 1, 2.0)), "b": "{", "c": '{"schema": 99}'}
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(text)
    assert len(load(tmp_path)) == 1
    err = capsys.readouterr().err
    assert "b/result.json: left out" in err
    assert "schema 99 is newer" in err
