"""What is kept is what was measured, and nothing but the same is taken for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsnot_exp.evaluate.store import Store


def test_a_measurement_is_made_once(tmp_path: Path) -> None:
    made: list[float] = []

    def measure() -> float:
        made.append(0.1 + 0.2)
        return made[-1]

    folder = tmp_path / "dense"
    assert Store(folder, {"model": "a"}).get_or({"task": "x"}, measure) == (0.1 + 0.2, False)
    assert Store(folder, {"model": "a"}).get_or({"task": "x"}, measure) == (0.1 + 0.2, True)
    assert len(made) == 1
    for other in ({"model": "b"}, {"model": "a", "code": "new"}):
        assert Store(folder, other).get_or({"task": "x"}, measure)[1] is False
    assert Store(folder, {"model": "a"}).get_or({"task": "y"}, measure)[1] is False
    assert Store(folder, {"model": "a"}, fresh=True).get_or({"task": "x"}, measure)[1] is False
    assert Store(None).get_or({"task": "x"}, measure)[1] is False
    assert len(made) == 6


@pytest.mark.parametrize("text", ["", '{"key": {}}', "[]"])
def test_a_damaged_file_is_measured_again_and_written_again(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    store.get_or({}, lambda: 1.0)
    (kept,) = tmp_path.iterdir()
    kept.write_text(text)
    assert store.get_or({}, lambda: 2.0) == (2.0, False)
    assert json.loads(kept.read_text())["value"] == 2.0


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert Store(tmp_path / "file" / "dense").get_or({}, lambda: 1.0) == (1.0, False)


def test_a_failed_measurement_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        Store(tmp_path).get_or({}, lambda: 1 / 0)
    assert not list(tmp_path.iterdir())
