"""Allocations in whole runs: what the result says, what later runs reuse, what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.config import ModelConfig
from dsnot_exp.run.settle import settle
from dsnot_exp.utils.errors import RequestError
from tests.support.command import Command, masked_weights, toy_arguments
from tests.support.runs import identity, wanda_dsnot

CONFIG = wanda_dsnot(Path("model"), Path("wikitext2"))
WANDA = ["prune=wanda", "refine=none", "sparsity=0.6"]


def test_the_result_tells_the_targets_and_the_model_has_them(
    command: Command, tmp_path: Path
) -> None:
    words = [*toy_arguments(tmp_path), *WANDA, "allocate=fisher", "allocate.samples=2"]
    done = command(*words, "save=true")
    assert done.code == 0, done.err
    sparsity = done.result["sparsity"]
    assert len(set(sparsity["targets"].values())) > 3
    assert sparsity["layers"] == pytest.approx(sparsity["targets"])
    weights = masked_weights(done.folder)
    zeros = sum(int((weights[f"{n}.weight"] == 0).sum()) for n in sparsity["targets"])
    total = sum(weights[f"{n}.weight"].numel() for n in sparsity["targets"])
    assert 0.6 * total - 48 < zeros <= 0.6 * total
    least, largest = min(sparsity["layers"].values()), max(sparsity["layers"].values())
    assert f"layers    {least:.4f} to {largest:.4f} of each layer, by allocate=fisher" in done.out
    assert done.result["timing_s"]["allocate"] > 0
    saved = json.loads((done.folder / "model/config.json").read_text())
    assert saved["dsnot_exp"]["allocate"] == "fisher"


def test_an_allocation_is_found_once_for_all_that_follows_it(
    command: Command, tmp_path: Path
) -> None:
    words = [*toy_arguments(tmp_path), "sparsity=0.6", "allocate=owl", "allocate.spread=0.2"]
    results = []
    for run, more in enumerate((
        ["refine=dsnot"],
        ["refine=none", "eval.baselines=[pruned]"],
        ["prune=magnitude", "refine=none"],
        ["refine=none", "seed=1"],
        ["refine=none", "allocate.spread=0.1"],
    )):  # fmt: skip
        done = command(*words, *more, run=str(run))
        assert done.code == 0, done.err
        results.append(done.result)
    assert ["allocation" in result["reused_stages"] for result in results] == [
        False, True, True, False, False
    ]  # fmt: skip
    targets = [result["sparsity"]["targets"] for result in results]
    assert targets[0] == targets[1] == targets[2]
    assert targets[0] != targets[4]
    again = command(*words, "refine=none", "rerun=true", run="again").result
    assert again["reused_stages"] == []
    assert again["sparsity"]["targets"] == targets[0]


def test_magnitude_gets_tokens_for_its_allocator_alone(command: Command, tmp_path: Path) -> None:
    words = [*toy_arguments(tmp_path), "prune=magnitude", "refine=none", "sparsity=0.6"]
    with_owl = command(*words, "allocate=owl", run="owl").result
    assert with_owl["data"]["calibration"]["sequences"] == 8
    with_alpha = command(*words, "allocate=alpha", run="alpha").result
    assert with_alpha["data"]["calibration"] is None
    assert len(set(with_alpha["sparsity"]["targets"].values())) > 1


def test_a_file_gives_layers_their_patterns_and_the_run_its_sparsity(
    command: Command, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text('"*": 0.5\nself_attn: 2:4\nmlp.down_proj: 0.75\nmodel.layers.0: 0\n')
    words = [*toy_arguments(tmp_path), *WANDA[:2], "allocate=file", f"allocate.path={rules}"]
    done = command(*words)
    assert done.code == 0, done.err
    sparsity = done.result["sparsity"]
    assert sparsity["targets"]["model.layers.1.self_attn.q_proj"] == "2:4"
    assert sparsity["layers"]["model.layers.1.self_attn.q_proj"] == 0.5
    assert sparsity["layers"]["model.layers.2.mlp.down_proj"] == 0.75
    assert sparsity["layers"]["model.layers.0.mlp.up_proj"] == 0
    assert sparsity["achieved"] == pytest.approx(sparsity["target"], abs=1e-6)
    assert done.result["config"]["sparsity"] == sparsity["target"]


def test_the_content_of_the_file_is_part_of_the_runs_hash(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    asked = replace(CONFIG, allocate={"name": "file", "path": str(rules)})
    rules.write_text('"*": 0.5')
    first, again = identity(asked), identity(asked)
    rules.write_text('"*": 0.6')
    assert first == again != identity(asked)


@pytest.mark.parametrize(
    ("allocate", "given", "told"),
    [
        (
            {"name": "fisher"},
            {"pattern": "2:4"},
            "allocate=fisher: pattern=2:4 keeps the same share",
        ),
        ({"name": "owl"}, {"sparsity": "4:8"}, "allocate=owl: pattern=4:8 keeps the same share"),
        ({"name": "alpha"}, {"sparsity": 0.97}, "sparsity=0.97: more than allocate.most=0.95"),
        ({"name": "owl", "most": 0.5}, {"sparsity": 0.6}, "more than allocate.most=0.5"),
        ({"name": "owl", "most": 1.5}, {}, "allocate.most=1.5: expected a fraction in (0, 1)"),
        ({"name": "owl", "by": "row"}, {}, "allocate.by=row: choose from matrix, block"),
        ({"name": "fisher", "step": 2}, {}, "allocate.step=2.0: expected a fraction in [0, 1]"),
        ({"name": "fisher", "samples": 0}, {}, "allocate.samples=0: expected 1 or more"),
        ({"name": "linear", "by": "matrix"}, {}, "allocate.by=matrix: choose from block"),
        (
            {"name": "search", "pruner": "ria"},
            {},
            "allocate.pruner=ria: choose from sparsegpt",
        ),
        ({"name": "search", "level": 0}, {}, "allocate.level=0.0: expected a fraction in (0, 0.5]"),
        (
            {"name": "search"},
            {"model": ModelConfig("tinyworld", streaming="True")},
            "model.streaming=true: allocate=search runs the whole model many times",
        ),
        ({"name": "file"}, {}, "allocate.path is missing"),
        ({"name": "file", "path": "none.yaml"}, {}, "allocate.path=none.yaml: cannot be read"),
        ({"name": "file", "path": __file__}, {"pattern": "2:4"}, "pattern=2:4: with allocate=file"),
    ],
)
def test_options_that_no_model_could_meet_are_refused_without_one(
    allocate: dict[str, Any], given: dict[str, Any], told: str
) -> None:
    with pytest.raises(RequestError, match=re.escape(told)):
        settle(replace(CONFIG, allocate=allocate, **given))


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ('"*": 0.5', "sparsity=0.7: allocate.path=rules.yaml amounts to 0.5000; leave"),
        ('"*": 0.5\nmpl: 0.6', "mpl matches no layer; choose from mlp.down_proj, mlp.gate"),
        ("self_attn: 0.5", "no line for model.layers.0.mlp.gate_proj and 8 more layers"),
        ('"*": 2:5', "pattern=2:5: model.layers.0.self_attn.q_proj has 32 inputs"),
    ],
)
def test_rules_that_do_not_fit_the_model_are_refused_before_its_weights(
    rules: str, told: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").write_text(rules)
    done = command(
        *toy_arguments(tmp_path), *WANDA[:2], "allocate=file", "allocate.path=rules.yaml",
        "sparsity=0.7",
    )  # fmt: skip
    assert done.code == 2
    assert told in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not done.folder.exists()
