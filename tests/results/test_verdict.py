"""Where refinement hurts, the result says so in words, and each stage has its right name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.results.stages import already_sparse, column_titles
from dsnot_exp.results.summary import _closing_lines, show_result
from dsnot_exp.results.verdict import where_off, where_worse
from dsnot_exp.utils.console import console


def accuracies(pruned: list[float], refined: list[float], error: float | None) -> dict[str, Any]:
    return {
        f"task{i}": {
            stage: {"acc": value, "acc_stderr": error}
            for stage, value in (("pruned", before), ("refined", after))
        }
        for i, (before, after) in enumerate(zip(pruned, refined, strict=True))
    }


@pytest.mark.parametrize(
    ("stages", "worse"),
    [
        ({"dense": 10.0, "pruned": 93.0, "refined": 120.0}, True),
        ({"pruned": 93.0, "refined": 93.0001}, True),
        ({"pruned": 93.0, "refined": 93.0}, False),
        ({"pruned": 93.0, "refined": 88.0}, False),
        ({"dense": 10.0, "refined": 88.0}, False),
        ({"dense": 10.0, "pruned": 88.0}, False),
    ],
)
def test_a_higher_perplexity_is_worse(stages: dict[str, float], worse: bool) -> None:
    found = where_worse({"perplexity": {"wikitext2": stages}, "zero_shot": {}})
    assert len(found) == worse
    assert all("perplexity of wikitext2 93 -> " in line for line in found)


@pytest.mark.parametrize(
    ("refined", "error", "worse"),
    [
        ([0.5, 0.6], 0.0, True),  # 0.55 after 0.6
        ([0.5, 0.6], None, True),
        ([0.5, 0.6], 0.06, True),  # the mean's error is 0.042
        ([0.5, 0.6], 0.08, False),
        ([0.5, 0.7], 0.0, False),
        ([0.9, 0.7], 0.0, False),
    ],
)
def test_a_mean_accuracy_is_worse_beyond_its_error(
    refined: list[float], error: float | None, worse: bool
) -> None:
    metrics = {"perplexity": {}, "zero_shot": accuracies([0.5, 0.7], refined, error)}
    assert len(where_worse(metrics)) == worse


def test_failed_tasks_do_not_count() -> None:
    tasks = accuracies([0.5], [0.1], 0.0) | {"broken": {"pruned": {"error": "x"}}}
    (line,) = where_worse({"perplexity": {}, "zero_shot": tasks})
    assert line.endswith("mean accuracy of 1 task 50.0 % -> 10.0 %")


def result(sparse: dict[str, Any] | None = None, **methods: str) -> dict[str, Any]:
    chosen = {"prune": "wanda", "refine": "dsnot", "reconstruct": "none", "finetune": "none"}
    config = {group: {"name": name} for group, name in (chosen | methods).items()}
    return {"config": config, "model": {"sparse": sparse}}


@pytest.mark.parametrize(
    ("methods", "titles"),
    [
        ({}, ["dense", "pruned", "refined"]),
        ({"refine": "none"}, ["dense", "pruned"]),
        ({"refine": "none", "reconstruct": "x"}, ["dense", "pruned", "refined"]),
        ({"finetune": "lora"}, ["dense", "pruned", "fine-tuned"]),
        ({"refine": "none", "finetune": "lora"}, ["dense", "pruned", "fine-tuned"]),
        ({"prune": "none", "refine": "dsnot"}, ["dense"]),
    ],
)
def test_a_column_is_called_what_it_is(methods: dict[str, str], titles: list[str]) -> None:
    columns = column_titles(result(**methods))
    assert list(columns.values()) == titles
    assert "refined" in columns  # the run's own result


OURS = {"prune": "wanda", "refine": "dsnot", "finetune": "none", "sparsity": 0.6}


@pytest.mark.parametrize(
    ("sparse", "name"),
    [(None, ""), (OURS, "wanda+dsnot 60 %"), ({"prune": None, "sparsity": 0.4995}, "sparse 50 %")],
)
def test_a_sparse_model_is_never_called_dense(sparse: dict[str, Any] | None, name: str) -> None:
    assert already_sparse(result(sparse)) == name
    for methods in ({}, {"prune": "none"}):
        titles = column_titles(result(sparse, **methods)).values()
        assert ("dense" in titles) == (sparse is None)


def test_the_closing_lines_begin_with_the_warning(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    row = dict.fromkeys(("expected_before", "expected_after"), 2.0)
    row |= {"relative_before": 0.5, "relative_after": 0.25, "swaps": 3}
    choices = [{"block": "model.layers.0", "chosen": c, "errors": {}} for c in ("5", "0", "5")]
    whole = result() | {
        "metrics": {
            "perplexity": {"text": {"pruned": 5.0, "refined": 6.0}},
            "zero_shot": {},
            "reconstruction": [row],
            "max_cycles": choices,
        },
        "data": {"evaluation": {"text": {"sequences": 8, "of": 40}}},
        "warnings": ["it is worse"],
        "sparsity": {"achieved": 0.5, "of_all_block_weights": 0.4},
        "timing_s": {},
        "memory": {"peak_rss_bytes": 1},
    }
    show_result(whole, tmp_path)
    lines = capfd.readouterr().out.splitlines()
    assert any("perplexity text, 8 of 40 sequences" in line for line in lines)
    told = [line.split(" ")[0] for line in lines[lines.index("warning   it is worse") :]]
    assert told == ["warning", "sparsity", "error", "error", "cycles", "seconds", "memory", "files"]
    assert "5 in 2, 0 in 1 of 3 blocks" in "\n".join(lines)
    errors = [line for line in lines if line.startswith("error")]
    assert ["relative" in errors[0], "expected" in errors[1]] == [True, True]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, ["relative, mean over layers: 0.5"]),
        ({"relative_before": None, "relative_after": None}, []),
        ({"expected_before": None}, []),
        ({"relative_after": 0.25}, ["relative, mean over layers: 0.5 -> 0.25"]),
        ({"expected_after": 1.0}, ["relative, mean over layers: 0.5", "expected, mean over "
                                   "layers: 2 -> 1"]),
    ],
    ids=["nothing moved", "not measured", "not collected", "reconstructed", "expected alone"],
)  # fmt: skip
def test_the_closing_lines_tell_the_layer_error(
    change: dict[str, float | None], told: list[str]
) -> None:
    row: dict[str, Any] = dict.fromkeys(("expected_before", "expected_after"), 2.0)
    row |= dict.fromkeys(("relative_before", "relative_after"), 0.5) | {"swaps": 0} | change
    metrics = {"reconstruction": [row]}
    whole = {"metrics": metrics, "timing_s": {}, "memory": {"peak_rss_bytes": 1}}
    whole["sparsity"] = {"achieved": 0.5, "of_all_block_weights": 0.4}
    lines = [line.partition(" ") for line in _closing_lines(whole, Path("folder"))]
    assert [text.strip() for kind, _, text in lines if kind == "error"] == told


def test_a_narrow_terminal_cuts_no_number(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", 40)
    stages = {"dense": 142.274, "pruned": 9142.06, "refined": 12.5}
    whole = result() | {
        "metrics": {
            "perplexity": {"/a/long/folder/name/of/text.txt": stages},
            "zero_shot": {},
            "reconstruction": [],
        },
        "sparsity": {"achieved": 0.5, "of_all_block_weights": 0.4},
        "timing_s": {},
        "memory": {"peak_rss_bytes": 1},
    }
    show_result(whole, tmp_path)
    out = capfd.readouterr().out
    for shown in ("dense", "pruned", "refined", "142.274", "9142.060", "12.500"):
        assert shown in out


@pytest.mark.parametrize(
    ("asked", "targets", "said"),
    [
        (0.5, {"a": 0.4, "b": 0.8}, []),  # b has a third of a's weights
        (0.5, {"a": 0.2, "b": 0.2}, ["the sparsities of allocate=mine amount to 0.2000, not 0.5"]),
        (0.5, {"a": "2:4", "b": "2:4"}, []),
        (None, {"a": 0.2, "b": 0.2}, []),
        (0.5, {}, []),
    ],
)
def test_another_sparsity_than_the_one_asked_for_is_said(
    asked: float | None, targets: dict[str, Any], said: list[str]
) -> None:
    assert where_off(asked, "mine", targets, {"a": 300, "b": 100}) == said
