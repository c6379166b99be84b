"""The result file is written whole or not at all, and a foreign one is never taken for ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsnot_exp.results.error_plot import error_figure
from dsnot_exp.results.file import finished, write_result
from dsnot_exp.walk.record import LayerRecord


def test_what_is_read_back_is_what_was_written(tmp_path: Path) -> None:
    result = {"schema": 1, "status": "finished", "config_hash": "h", "x": [1.5, None]}
    write_result(tmp_path, result)
    assert finished(tmp_path, "h") == result
    assert finished(tmp_path, "other") is None
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    "text", ["", "{", '{"schema": 9, "status": "finished", "config_hash": "h"}', "[]"]
)
def test_truncated_and_newer_results_are_not_finished(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    assert finished(tmp_path, "h") is None


def test_numbers_that_json_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_result(tmp_path, {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def record(number: int, measured: bool) -> LayerRecord:
    errors = (2.0, 1.0, 0.3, 0.4) if measured else (None,) * 4
    return LayerRecord(f"model.layers.{number}.mlp.up_proj", 100, 50, *errors, swaps=3, cycles=2)


def test_the_figure_grows_with_the_model_and_is_omitted_without_errors(tmp_path: Path) -> None:
    small = error_figure([record(i, True) for i in range(7)], "toy", tmp_path / "small.png")
    large = error_figure([record(i, True) for i in range(560)], "80 blocks", tmp_path / "large.png")
    assert small is not None
    assert large is not None
    widths = [int.from_bytes(p.read_bytes()[16:20], "big") for p in (small, large)]
    assert widths[0] < widths[1] < 4000
    assert error_figure([record(0, False)], "none", tmp_path / "none.png") is None


def test_json_is_plain(tmp_path: Path) -> None:
    write_result(tmp_path, {"layers": {"a": 0.5}})
    assert json.loads((tmp_path / "result.json").read_text()) == {"layers": {"a": 0.5}}
