"""Which options make the sparse model, and which only measure it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dsnot_exp.config import CalibConfig, Config, EvalConfig
from dsnot_exp.run.check_model import settle_lengths
from dsnot_exp.run.fingerprint import config_hash, sparse_hash
from dsnot_exp.run.plan import make_plan
from tests.support.runs import wanda_dsnot

POSITIONS = 64


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "config.json").write_text("{}")
    (tmp_path / "toy" / "model.safetensors").write_bytes(bytes(4096))
    (tmp_path / "calib.txt").write_text("some text")
    return wanda_dsnot(tmp_path / "toy", tmp_path / "calib.txt")


def identity(config: Config, **changes: Any) -> str:
    return sparse_hash(settle_lengths(make_plan(replace(config, **changes)), POSITIONS))


MEASURES: dict[str, dict[str, Any]] = {
    "another task": {"eval": EvalConfig("x", tasks=["rte"], limit=3, num_fewshot=2)},
    "another text": {"eval": EvalConfig("x", perplexity=["ptb"], seqlen=16, field="t", bos="true")},
    "other stages": {"eval": EvalConfig("x", baselines=[], streaming="true", batch_size=3)},
    "LoRA": {"finetune": {"name": "lora"}},
    "saved": {"save": True},
    "kept otherwise": {"keep": "weights"},
    "run again": {"rerun": True},
    "another folder": {"out": "elsewhere", "sweep": "other"},
}
MAKES: dict[str, dict[str, Any]] = {
    "sparsity": {"sparsity": 0.6},
    "pattern": {"pattern": "2:4"},
    "pruner": {"prune": {"name": "magnitude"}},
    "refiner": {"refine": {"name": "none"}},
    "option of the refiner": {"refine": {"name": "dsnot", "max_cycles": 6}},
    "reconstructor": {"reconstruct": {"name": "cg"}},
    "allocator": {"allocate": {"name": "owl"}},
    "seed": {"seed": 1},
    "recorded errors": {"relative_error": "true"},
}


@pytest.mark.parametrize("changes", MEASURES.values(), ids=MEASURES)
def test_what_is_measured_is_no_part_of_it(changes: dict[str, Any], config: Config) -> None:
    assert identity(config, **changes) == identity(config)


@pytest.mark.parametrize("changes", MAKES.values(), ids=MAKES)
def test_what_makes_the_model_is_part_of_it(changes: dict[str, Any], config: Config) -> None:
    assert identity(config, **changes) != identity(config)


@pytest.mark.parametrize(
    "changes", [{"samples": 7}, {"seqlen": 16}, {"batch_size": 2}, {"bos": "true"}, {"field": "t"},
                {"min_tokens": 3}], ids=str,
)  # fmt: skip
def test_the_calibration_is_part_of_it_where_it_is_used(
    changes: dict[str, Any], config: Config
) -> None:
    calib = replace(config.calib, **changes)
    assert identity(config, calib=calib) != identity(config)
    magnitude: dict[str, Any] = {"prune": {"name": "magnitude"}, "refine": {"name": "none"}}
    assert identity(config, calib=calib, **magnitude) == identity(config, **magnitude)


def test_a_default_is_the_value_that_it_means(config: Config) -> None:
    calib = replace(config.calib, seqlen=POSITIONS)
    assert identity(config, calib=calib) == identity(config)
    held_out = replace(config.calib, held_out=5)  # five cycles: nothing is chosen on them
    assert identity(config, calib=held_out) == identity(config)
    auto = {"refine": {"name": "dsnot", "max_cycles": "auto"}}
    assert identity(config, calib=held_out, **auto) != identity(config, **auto)
    eighth = replace(config.calib, held_out=8)  # 128 / 16
    assert identity(config, calib=eighth, **auto) == identity(config, **auto)


def test_defaults_of_the_model_for_other_options_are_no_part_of_it(config: Config) -> None:
    model = replace(config.model, tasks=["rte"], perplexity=["ptb"], max_cycles=3)
    assert identity(config, model=model) == identity(config)
    assert identity(config, model=replace(config.model, dtype="float16")) != identity(config)


def test_the_content_of_the_model_and_of_the_calibration_is_part_of_it(
    config: Config, tmp_path: Path
) -> None:
    found = [identity(config)]
    (tmp_path / "calib.txt").write_text("another text")
    found.append(identity(config))
    (tmp_path / "toy" / "model.safetensors").write_bytes(b"\1" * 4096)
    found.append(identity(config))
    assert len(set(found)) == 3


def test_the_pruned_stage_is_the_run_without_refinement(config: Config) -> None:
    calib = CalibConfig(dataset=config.calib.dataset, held_out=3)
    plan = settle_lengths(make_plan(replace(config, calib=calib)), POSITIONS)
    alone = identity(config, refine={"name": "none"})
    assert sparse_hash(plan.initializer_only()) == alone
    trained = replace(config, reconstruct={"name": "block"}, finetune={"name": "lora"})
    plan = settle_lengths(make_plan(trained), POSITIONS)
    assert sparse_hash(plan.initializer_only()) == alone


def test_the_hash_of_the_run_does_not_know_what_is_kept(config: Config) -> None:
    plans = [make_plan(replace(config, keep=keep)) for keep in ("masks", "weights", "none")]
    assert len({config_hash(plan) for plan in plans}) == 1
