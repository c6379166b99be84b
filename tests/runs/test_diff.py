"""python -m dsnot_exp.runs diff: what differs between two runs, and how far their masks agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dsnot_exp.models.masks import load_masks
from tests.report.folders import fill, result
from tests.runs.conftest import Runs
from tests.support.command import Command, toy_arguments


@pytest.fixture
def pair(command: Command, tmp_path: Path) -> tuple[Path, Path]:
    """Two runs of a toy model that differ in the sparsity, with their masks."""
    words = [*toy_arguments(tmp_path), "refine=none", "out=shared"]
    a = command(*words, "sparsity=0.5", run="a")
    b = command(*words, "sparsity=0.75", run="b")
    assert (a.code, b.code) == (0, 0), a.err + b.err
    return a.folder, b.folder


def kept(folder: Path) -> Path:
    return folder / json.loads((folder / "result.json").read_text())["masks"]["folder"]


def test_masks_are_compared_by_layer(pair: tuple[Path, Path], runs: Runs) -> None:
    printed = runs("diff", *pair, "--json")
    assert (printed.code, printed.err) == (0, "")
    found = json.loads(printed.out)
    assert found["options"] == {"sparsity": {"a": 0.5, "b": 0.75}}
    one, other = (load_masks(kept(folder)) for folder in pair)
    assert [layer["name"] for layer in found["masks"]["layers"]] == list(one)
    both = either = equal = total = 0
    for layer in found["masks"]["layers"]:
        a, b = one[layer["name"]].flatten().tolist(), other[layer["name"]].flatten().tolist()
        kept_by = [x + y for x, y in zip(a, b, strict=True)]
        assert layer["jaccard"] == kept_by.count(2) / (len(kept_by) - kept_by.count(0))
        assert layer["equal"] == (len(kept_by) - kept_by.count(1)) / len(kept_by)
        both += kept_by.count(2)
        either += len(kept_by) - kept_by.count(0)
        equal += len(kept_by) - kept_by.count(1)
        total += len(kept_by)
    assert found["masks"]["total"]["jaccard"] == both / either
    assert found["masks"]["total"]["equal"] == equal / total
    text = runs("diff", *pair).out
    assert f"{both / either:.4f} of the weights that either keeps are kept by both" in text
    assert "sparsity   0.5   0.75" in text


def test_damaged_and_exchanged_masks_are_not_compared(pair: tuple[Path, Path], runs: Runs) -> None:
    a, b = (kept(folder) for folder in pair)
    path = pair[0] / "result.json"
    content = json.loads(path.read_text())
    content["masks"]["folder"] = str(b.resolve())
    path.write_text(json.dumps(content))
    found = json.loads(runs("diff", *pair, "--json").out)["masks"]
    assert "holds the masks of a later run" in found["why"]
    assert found["layers"] == []
    content["masks"]["folder"] = str(a.resolve())
    path.write_text(json.dumps(content))
    file = next((a / "masks").iterdir())
    file.write_bytes(file.read_bytes()[:-1] + b"\x55")
    found = json.loads(runs("diff", *pair, "--json").out)["masks"]
    assert "damaged" in found["why"]
    assert found["total"] is None


def test_masks_that_are_not_kept(tmp_path: Path, runs: Runs) -> None:
    fill(tmp_path, result() | {"masks_sha256": "a"}, result() | {"masks_sha256": "b"})
    printed = runs(tmp_path, "diff", "run-00", "run-01")
    assert "no masks are kept of" in printed.out
    assert "keep=masks rerun=true" in printed.out


@pytest.mark.parametrize(
    ("hashes", "told"),
    [(("a", "a"), "the same masks"), (("a", None), "a run that pruned nothing has no masks")],
)
def test_masks_without_reading_them(
    tmp_path: Path, runs: Runs, hashes: tuple[str | None, str | None], told: str
) -> None:
    fill(tmp_path, *(result() | {"masks_sha256": one} for one in hashes))
    assert told in runs(tmp_path, "diff", "run-00", "run-01").out


def test_metrics_side_by_side(tmp_path: Path, runs: Runs) -> None:
    scores = [
        {"rte": {"refined": {"acc": acc, "items": 100, "num_fewshot": 0}}} for acc in (0.5, 0.6)
    ]
    fill(
        tmp_path,
        result(perplexity={"dense": 5.0, "refined": 10.0}, zero_shot=scores[0], sweep="one"),
        result(perplexity=12.5, zero_shot=scores[1], seed=3, torch="2.14.0"),
    )
    found = json.loads(runs(tmp_path, "diff", "run-00", "run-01", "--json").out)
    metrics = {(m["what"], m["stage"]): (m["a"], m["b"], m["difference"]) for m in found["metrics"]}
    assert metrics["perplexity wikitext2", "refined"] == (10.0, 12.5, 2.5)
    assert metrics["perplexity wikitext2", "dense"] == (5.0, None, None)
    assert metrics["accuracy rte", "refined"] == (0.5, 0.6, pytest.approx(0.1))
    assert found["origins"]["environment.torch"] == {"a": "2.13.0", "b": "2.14.0"}
    text = runs(tmp_path, "diff", "run-00", "run-01").out
    assert "+25.0 %" in text
    assert "without effect on the result: sweep" in text
    assert [line.split() for line in text.splitlines() if line.startswith("seed")] == [
        ["seed", "0", "3"]
    ]


def test_metrics_of_different_inputs_have_no_difference(tmp_path: Path, runs: Runs) -> None:
    def measured(tokens: str, items: int, perplexity: float) -> dict[str, object]:
        task = {"refined": {"acc": 0.5, "items": items, "num_fewshot": 0}}
        data = {"sequences": 8, "seqlen": 24, "tokens_sha256": tokens}
        made = result(perplexity=perplexity, zero_shot={"rte": task})
        return made | {"data": {"evaluation": {"wikitext2": data}}}

    fill(tmp_path, measured("a", 100, 5.0), measured("b", 20, 6.0), measured("a", 100, 7.0))
    found = json.loads(runs(tmp_path, "diff", "run-00", "run-01", "--json").out)
    assert [metric["difference"] for metric in found["metrics"]] == [None, None]
    assert [metric["unlike"] for metric in found["metrics"]] == [
        "other tokens", "100 items, 0-shot / 20 items, 0-shot",
    ]  # fmt: skip
    found = json.loads(runs(tmp_path, "diff", "run-00", "run-02", "--json").out)
    assert [metric["difference"] for metric in found["metrics"]] == [2.0, 0.0]
    listed = runs(tmp_path).out
    assert "do not compare: wikitext2 was measured on different tokens" in listed
    assert "rte was measured on different items (100 items, 0-shot or 20 items, 0-shot)" in listed
    assert "do not compare" not in runs(tmp_path, "--filter", "name!=run-01").out


def test_a_run_without_a_result_is_refused(tmp_path: Path, runs: Runs) -> None:
    fill(tmp_path, result())
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "error.txt").write_text("no network\n")
    printed = runs(tmp_path, "diff", "run-00", "bad")
    assert printed.code == 2
    assert "refused: no network; only runs with a result compare" in printed.err
