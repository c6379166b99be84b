"""The jobs of a sweep: every combination of its values, in one grid or several.

`hydra.sweeper.grids` is a list of mappings such as `params`. Every grid has the values of `params`
too, and a key that is typed replaces the key in all of them. A run that is in two grids runs once.
hydra_plugins/dsnot_exp_sweeper.py runs these jobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf


@dataclass
class GridSweeperConf:
    """Options of the sweeper; all but `grids` are those of Hydra's basic sweeper."""

    _target_: str = "hydra_plugins.dsnot_exp_sweeper.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    grids: list[dict[str, str]] | None = None


def register_sweeper() -> None:
    ConfigStore.instance().store("grids", GridSweeperConf, "hydra/sweeper")


def jobs_of(config: DictConfig, loader: ConfigLoader) -> Iterator[tuple[list[str], DictConfig]]:
    """The words and the configuration of every job of a sweep, in the order in which they run."""
    several = bool(OmegaConf.select(config, "hydra.sweeper.grids"))
    known: set[Path] = set()
    for words in words_of(config, loader):
        composed = loader.load_sweep_config(config, words)
        if several:
            folder = folder_of(composed)
            if folder in known:
                continue
            known.add(folder)
        yield words, composed


def folder_of(composed: DictConfig) -> Path:
    """The folder of a job. Its name has the hash of everything that affects the result."""
    return Path(composed.hydra.sweep.dir) / OmegaConf.select(composed, "hydra.sweep.subdir")


def words_of(config: DictConfig, loader: ConfigLoader) -> list[list[str]]:
    """The words of every combination of every grid, those that mean the same run included."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # Hydra loads it anew

    parser = OverridesParser.create(config_loader=loader)
    sweeper, typed = config.hydra.sweeper, config.hydra.overrides.task
    found: list[list[str]] = []
    for grid in OmegaConf.select(sweeper, "grids") or [{}]:
        values = {**(sweeper.params or {}), **grid}
        replaced = {word.partition("=")[0] for word in typed}
        kept = [f"{key}={value}" for key, value in values.items() if key not in replaced]
        words = [*kept, *typed]
        (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides(words), None)
        found += jobs
    return found
