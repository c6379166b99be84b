"""python -m dsnot_exp.runs show, and how a run is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import dsnot_exp
from tests.report.folders import fill, result
from tests.runs.conftest import Runs
from tests.support.command import Command, toy_arguments


@pytest.fixture
def toy(command: Command, tmp_path: Path) -> Path:
    done = command(
        *toy_arguments(tmp_path), "calib.min_tokens=16", "refine.grow=wanda", run="toy-1"
    )
    assert done.code == 0, done.err
    return done.folder


def rows(text: str, section: str) -> list[list[str]]:
    """The words of the lines of a table."""
    table = text.split(f"\n{section}")[1].split("\n\n")[0]
    return [line.split() for line in table.splitlines()[3:]]


def test_everything_about_a_run(toy: Path, runs: Runs) -> None:
    printed = runs("show", toy)
    content = json.loads((toy / "result.json").read_text())
    assert (printed.code, printed.err) == (0, "")
    assert f"command     {content['command']}" in printed.out
    options = {row[0]: row[1:] for row in rows(printed.out, "Options that differ")}
    assert options["calib.min_tokens"] == ["16", "32"]
    assert options["refine.grow"] == ["wanda", "mean_over_var"]
    assert options["eval.baselines"] == ["[]", "[dense,pruned]"]
    assert "calib.field" not in options
    assert "sparsity" not in options
    (text, value) = next(iter(content["metrics"]["perplexity"].items()))
    assert f"perplexity {text}" in printed.out
    assert f"{value['refined']:.3f}" in printed.out
    kinds = {row[0]: row for row in rows(printed.out, "Layers by kind")}
    layers = [r for r in content["metrics"]["reconstruction"] if r["layer"].endswith("up_proj")]
    assert kinds["mlp.up_proj"][1] == str(len(layers))
    assert kinds["mlp.up_proj"][-1] == str(sum(row["swaps"] for row in layers))
    for word in (content["masks_sha256"], content["config_hash"], content["environment"]["torch"]):
        assert word in printed.out
    files = {row[0] for row in rows(printed.out, "Files")}
    assert {"result.json", "errors.png", "dsnot_exp.log"} <= files
    assert "(shared)" in printed.out  # the kept masks


def test_the_same_as_json(toy: Path, runs: Runs) -> None:
    found = json.loads(runs("show", toy, "--json").out)
    assert found["result"] == json.loads((toy / "result.json").read_text())
    assert found["differs"]["calib.min_tokens"] == {"value": 16, "default": 32}
    assert found["files"]["result.json"] == (toy / "result.json").stat().st_size
    assert found["state"] == "finished"


def test_a_narrow_terminal_cuts_nothing(
    toy: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "45")
    printed = runs("show", toy)
    assert "…" not in printed.out
    assert "  after" in printed.out


def test_options_whose_defaults_are_unknown(tmp_path: Path, runs: Runs) -> None:
    made = result(method="my_pruner", perplexity=5.0)
    fill(tmp_path, made | {"command": "python -m dsnot_exp prune=my_pruner seed=0"})
    printed = runs("show", tmp_path / "run-00")
    assert printed.code == 0
    assert "the defaults are unknown: " in printed.out
    assert ["seed", "0"] in [line.split() for line in printed.out.splitlines()]


def test_a_run_that_failed(tmp_path: Path, runs: Runs) -> None:
    place = tmp_path / "failed"
    (place / "state").mkdir(parents=True)
    (place / "error.txt").write_text("NaN in k_proj\n")
    configuration = "{'model': {'name': 'tinyworld'}, 'sparsity': 0.7}"
    line = f"2026-11-29 07:26:16,603 INFO dsnot_exp.run.job: configuration: {configuration}\n"
    (place / "dsnot_exp.log").write_text(line)
    printed = runs("show", place)
    assert printed.code == 0
    assert "failed, " in printed.out
    assert "the same command resumes it" in printed.out
    assert "NaN in k_proj" in printed.out
    assert "sparsity     0.7" in printed.out


def test_how_a_run_is_named(tmp_path: Path, runs: Runs) -> None:
    hashes = ("1f2e3d4c", "1f2e9999", "73a59ff0")
    for name, identity in zip(hashes, ("ab", "cd", "ef"), strict=True):
        fill(tmp_path / "t", result() | {"config_hash": identity * 32})
        (tmp_path / "t" / "run-00").rename(tmp_path / "t" / f"llama-wanda-{name}")

    def shown(word: str | Path) -> str:
        return Path(json.loads(runs(tmp_path, "show", word, "--json").out)["folder"]).name

    for word in ("llama-wanda-73a59ff0", "73a59ff0", "llama-wanda-7", "efef", "t/llama-wanda-73"):
        assert shown(word) == "llama-wanda-73a59ff0"
    assert shown(tmp_path / "t" / "llama-wanda-73a59ff0" / "result.json") == "llama-wanda-73a59ff0"
    printed = runs(tmp_path, "show", "llama-wanda-1f2e")
    assert printed.code == 2
    assert "2 runs in" in printed.err
    assert "t/llama-wanda-1f2e3d4c, t/llama-wanda-1f2e9999" in printed.err
    printed = runs(tmp_path, "show", "llama-wanda-73a59ff1")
    assert "did you mean llama-wanda-73a59ff0?" in printed.err
    assert "holds 3 runs; give one of them: " in runs(tmp_path, "show", tmp_path / "t").err


def test_all_runs_as_a_dataframe(tmp_path: Path) -> None:
    fill(tmp_path, result(perplexity=12.5), result(perplexity=9.75, sparsity=0.5), "{")
    table = dsnot_exp.runs(tmp_path)
    assert list(table["state"]) == ["finished", "finished", "unreadable"]
    column = "metrics.perplexity.wikitext2.refined"
    best = table.sort_values(column).iloc[0]
    assert (best["name"], best["config.sparsity"], best[column]) == ("run-01", 0.5, 9.75)
    assert str(table["date"].dtype).startswith("datetime64")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        dsnot_exp.runs(tmp_path / "none")


def test_the_package_can_be_called_whichever_is_imported_first(tmp_path: Path) -> None:
    fill(tmp_path, result())
    code = (
        "import sys, dsnot_exp\nassert not {'torch', 'pandas'} & set(sys.modules)\n"
        f"print(len(dsnot_exp.runs({str(tmp_path)!r})))\n"
        "import dsnot_exp.runs.find\n"
        f"print(len(dsnot_exp.runs({str(tmp_path)!r})), dsnot_exp.runs.find.FINISHED)\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1", "finished", "False"], done.stderr
