"""The jobs of a sweep: every combination of its values, in one grid or several.

`hydra.sweeper.grids` is a list of mappings such as `params`. Every grid has the values of `params`
too, and a key that is typed replaces the key in all of them. jobs.py sorts out the combinations
that mean the same run, and hydra_plugins/dsnot_exp_sweeper.py runs the others.

An option that only some of the methods have is left out of the combinations with the others: with
refine=none,dsnot refine.max_cycles=5,50 there is one run without refinement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from dsnot_exp.methods import registry
from dsnot_exp.utils.errors import RequestError


@dataclass
class GridSweeperConf:
    """Options of the sweeper; all but `grids` are those of Hydra's basic sweeper."""

    _target_: str = "hydra_plugins.dsnot_exp_sweeper.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = None
    grids: list[dict[str, str]] | None = None


def register_sweeper() -> None:
    ConfigStore.instance().store("grids", GridSweeperConf, "hydra/sweeper")


@dataclass(frozen=True)
class Combination:
    """The words of one combination. `left_out`: options that its methods do not have, such as
    `refine.max_cycles with refine=none`."""

    words: list[str]
    left_out: tuple[str, ...] = ()


def folder_of(composed: DictConfig) -> Path:
    """The folder of a job. Its name has the hash of everything that affects the result."""
    return Path(composed.hydra.sweep.dir) / OmegaConf.select(composed, "hydra.sweep.subdir")


def words_of(config: DictConfig, loader: ConfigLoader) -> list[list[str]]:
    """The words of every combination."""
    return [found.words for found in combinations_of(config, loader)]


def combinations_of(config: DictConfig, loader: ConfigLoader) -> list[Combination]:
    """Every combination of every grid in order, those that mean the same run included."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # Hydra loads it anew

    parser = OverridesParser.create(config_loader=loader)
    sweeper, typed = config.hydra.sweeper, config.hydra.overrides.task
    found: list[Combination] = []
    for grid in OmegaConf.select(sweeper, "grids") or [{}]:
        values = {**(sweeper.params or {}), **grid}
        replaced = {word.partition("=")[0] for word in typed}
        kept = [f"{key}={value}" for key, value in values.items() if key not in replaced]
        words = [*kept, *typed]
        (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides(words), None)
        found += _of_own_methods(jobs)
    return found


def _of_own_methods(jobs: list[list[str]]) -> list[Combination]:
    """Leave out of each job the options that its method lacks and another one of the same grid has.
    An option that none of them has stays, and is refused."""
    found = []
    pairs = [dict(_pair(word) for word in words) for words in jobs]
    for words, job in zip(jobs, pairs, strict=True):
        foreign = [key for key in job if _is_foreign(key, job, pairs)]
        kept = [word for word in words if _pair(word)[0] not in foreign]
        told = [f"{key} with {_group(key)}={job[_group(key)]}" for key in foreign]
        found.append(Combination(kept, tuple(told)))
    return found


def _is_foreign(key: str, job: Mapping[str, str], jobs: Sequence[Mapping[str, str]]) -> bool:
    """Whether the option `key` belongs to the methods of other jobs, and not to that of `job`."""
    group = _group(key)
    if "." not in key or group not in registry.OURS or group not in job:
        return False
    own = _options(group, job[group])
    if own is None or key in own:
        return False
    return any(key in (_options(group, name) or ()) for name in {other[group] for other in jobs})


def _group(key: str) -> str:
    return key.partition(".")[0]


def _pair(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key, value


def _options(group: str, name: str) -> set[str] | None:
    """The keys of a method's options; None if they are not known here."""
    if name == registry.NONE:
        return set()
    try:
        return {f"{group}.{option}" for option in registry.options(group, name)}
    except (RequestError, TypeError):  # a choice of conf/ alone, or reported when a run is planned
        return None
