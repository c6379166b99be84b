"""Bold, second, arrows, and the distance to dense; and the LaTeX that a paper includes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.report.__main__ import main
from tests.report.folders import Report, fill, result

VALUES = {
    "wanda": (10.0, 20.0), "wanda+dsnot": (9.0, 21.0), "sparsegpt": (8.0, 19.0),
    "sparsegpt+dsnot": (8.0, 18.0),
}  # fmt: skip


def folder(place: Path) -> Path:
    runs = [
        result("m", method, {"dense": 5.0, "refined": value}, sparsity=sparsity)
        for method, values in VALUES.items()
        for sparsity, value in zip((0.5, 0.6), values, strict=True)
    ]
    return fill(place, *runs)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(place: Path, *options: str) -> Report:
        monkeypatch.setattr(sys, "argv", ["report", str(place), *options])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return Report(int(exit_.value.code or 0), captured.out, captured.err, place / "report")

    return run


def test_best_second_and_arrows_against_each_initializer(tmp_path: Path, command: Any) -> None:
    made = command(folder(tmp_path))
    assert {row[0]: row[1:] for row in made.rows()[:6]} == {
        "method": ["50 %", "60 %"], "Dense": ["5.00", "5.00"], "Wanda": ["10.00", "20.00"],
        "Wanda + DSnoT": ["9.00 ↓", "21.00 ↑"], "SparseGPT": ["**8.00**", "*19.00*"],
        "SparseGPT + DSnoT": ["**8.00**", "**18.00** ↓"],
    }  # fmt: skip
    assert "↓ better, ↑ worse than the initializer alone." in made.out


@pytest.mark.parametrize("name", ["sparsegpt", "SparseGPT", "sparsegpt "])
def test_a_named_baseline(name: str, tmp_path: Path, command: Any) -> None:
    made = command(folder(tmp_path), "--baseline", name)
    rows = {row[0]: row[1:] for row in made.rows()[:6]}
    assert rows["Wanda"] == ["10.00 ↑", "20.00 ↑"]
    assert rows["SparseGPT"] == ["**8.00**", "*19.00*"]
    assert rows["SparseGPT + DSnoT"] == ["**8.00**", "**18.00** ↓"]
    assert rows["Dense"] == ["5.00", "5.00"]
    assert "worse than SparseGPT." in made.text("index.html")
    table = made.csv()
    assert list(table["50 % versus"]) == ["", "2.0", "1.0", "", "0.0"]
    assert "# versus: ours minus SparseGPT." in made.text("table.csv")


def test_a_baseline_that_no_table_has_is_refused(tmp_path: Path, command: Any) -> None:
    made = command(folder(tmp_path), "--baseline", "owl")
    assert (made.code, made.out, made.err.count("\n")) == (2, "", 1)
    assert "--baseline owl: no table has this row; choose from: dense, wanda," in made.err
    assert not made.folder.exists()


def test_the_distance_to_dense_on_request(tmp_path: Path, command: Any) -> None:
    made = command(folder(tmp_path), "--delta")
    rows = {row[0]: row[1:] for row in made.rows()[:6]}
    assert rows["Wanda + DSnoT"] == ["9.00 ↓ (Δ +4.00)", "21.00 ↑ (Δ +16.00)"]
    assert rows["Dense"] == ["5.00", "5.00"]
    assert list(made.csv()["50 % delta"])[1:] == ["5.0", "4.0", "3.0", "3.0"]
    assert r"$\Delta$ +4.00" in made.text("table.tex")
    assert "Δ" not in command(folder(tmp_path / "other")).out


def test_the_latex_is_a_bare_tabular_with_the_rules_of_booktabs(
    tmp_path: Path, command: Any
) -> None:
    made = command(folder(tmp_path))
    lines = [line for line in made.text("table.tex").splitlines() if not line.startswith("%")]
    assert lines[0] == r"\begin{tabular}{lrr}"
    assert lines[1:4] == [r"\toprule", r"method & 50 \% & 60 \% \\", r"\midrule"]
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    assert r"Wanda + DSnoT & 9.00$\downarrow$ & 21.00$\uparrow$ \\" in lines
    assert r"SparseGPT & \textbf{8.00} & \underline{19.00} \\" in lines
    rows = [line for line in lines if line.endswith(r"\\")]
    assert {row.count(" & ") for row in rows} == {2}
    text = "\n".join(lines)
    assert text.count("{") == text.count("}")
    assert not re.search(r"(?<!\\)[%#_]|documentclass|[^\x00-\x7f]", text)
    for number in (2, 3, 4):
        assert r"\begin{tabular}" in made.text(f"table-{number}.tex")
