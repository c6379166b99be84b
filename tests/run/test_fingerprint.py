"""Two commands share a result exactly if nothing that affects it differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf, open_dict
from safetensors.torch import load_file, save_file

from dsnot_exp.config import CalibConfig, Config, EvalConfig, WandbConfig
from dsnot_exp.run.run_id import run_id
from tests.support.command import toy_folder
from tests.support.families import tokens
from tests.support.runs import identity, wanda_dsnot


@pytest.fixture
def config(tmp_path: Path) -> Config:
    save_file({"input_ids": tokens(8, 24)}, tmp_path / "calib.safetensors")
    return wanda_dsnot(toy_folder(tmp_path / "toy"), tmp_path / "calib.safetensors")


def test_what_has_no_effect_on_the_result_is_left_out(config: Config) -> None:
    same = replace(
        config,
        wandb=WandbConfig(mode="disabled"),
        save=True,
        rerun=True,
        sweep="other",
        sparsity=0.5,
    )
    assert identity(same) == identity(config)
    without = replace(config, refine={"name": "none"})
    assert identity(without) != identity(config)
    untrained = replace(config, finetune={"name": "none", "steps": 3})
    assert identity(untrained) == identity(config)
    dense = replace(config, prune={"name": "none"})
    elsewhere = replace(dense, calib=CalibConfig(dataset="ptb"), refine={"name": "none"})
    assert identity(elsewhere) == identity(dense)


@pytest.mark.parametrize(
    "change",
    [
        {"sparsity": 0.6},
        {"seed": 1},
        {"pattern": "2:4"},
        {"refine": {"name": "dsnot", "max_cycles": 6}},
        {"prune": {"name": "magnitude"}},
        {"eval": EvalConfig(name="ppl", seqlen=12)},
        {"relative_error": "false"},
        {"finetune": {"name": "lora", "dataset": "c4"}},
    ],
    ids=str,
)
def test_what_has_one_counts(config: Config, change: dict[str, object]) -> None:
    assert identity(replace(config, **change)) != identity(config)


def test_a_changed_file_is_another_run(config: Config) -> None:
    before = identity(config)
    save_file({"input_ids": tokens(8, 24, seed=5)}, config.calib.dataset)
    assert identity(config) != before


def test_a_model_trained_on_in_its_folder_is_another_run(config: Config) -> None:
    before = identity(config)
    path = Path(config.model.path or "") / "model.safetensors"
    weights = {name: weight + 1e-3 for name, weight in load_file(path).items()}
    save_file(weights, path, {"format": "pt"})
    assert identity(config) != before
    save_file({name: torch.ones(3) for name in weights}, path)
    (path.parent / "model-2.safetensors").write_bytes(b"")
    assert len(identity(config)) == 64


def test_a_run_of_a_folder_is_called_after_it(config: Config) -> None:
    composed = OmegaConf.structured(config)
    with open_dict(composed):
        composed.hydra = {}
    assert run_id(composed).startswith("toy-wanda-0.5-dsnot-")
    composed.reconstruct = {"name": "cg"}
    assert run_id(composed).startswith("toy-wanda-0.5-dsnot-cg-")
    composed.model.path = None
    assert run_id(composed).startswith("local-wanda")
