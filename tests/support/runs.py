"""A configuration as the tests of hashes and plans need it, without Hydra."""

from __future__ import annotations

from pathlib import Path

from dsnot_exp.config import CalibConfig, Config, EvalConfig, ModelConfig
from dsnot_exp.run.fingerprint import config_hash
from dsnot_exp.run.plan import make_plan


def wanda_dsnot(model: Path, dataset: Path) -> Config:
    """Wanda and DSnoT on a model folder, calibrated on a file."""
    return Config(
        model=ModelConfig(name="local", path=str(model)),
        prune={"name": "wanda"},
        refine={"name": "dsnot", "max_cycles": 5},
        allocate={"name": "uniform"},
        reconstruct={"name": "none"},
        calib=CalibConfig(dataset=str(dataset)),
        eval=EvalConfig(name="ppl"),
    )


def identity(config: Config) -> str:
    return config_hash(make_plan(config))
