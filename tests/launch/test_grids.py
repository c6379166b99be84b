"""Sweeps of several grids: what runs, in which order, and that nothing runs twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig

from dsnot_exp.config import register_schema
from dsnot_exp.launch.grids import words_of
from dsnot_exp.launch.jobs import Job, planned
from dsnot_exp.utils.paths import beside_or_inside
from tests.support.command import Command, toy_arguments


@contextmanager
def composed(*words: str, **params: str) -> Iterator[DictConfig]:
    """The configuration of a command with these words."""
    register_schema()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(beside_or_inside("conf")), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        config = hydra.compose_config("config", list(words), RunMode.MULTIRUN)
        if params:
            config.hydra.sweeper.params = params
        yield config


def jobs(*words: str, **params: str) -> list[Job]:
    with composed(*words, **params) as config:
        return planned(config).jobs


def grids(*texts: str) -> str:
    return f"hydra.sweeper.grids=[{', '.join(texts)}]"


def shown(found: list[Job], *keys: str) -> list[tuple[Any, ...]]:
    configs = [job.config for job in found]
    return [tuple(getattr(config, key) for key in keys) for config in configs if config]


def test_grids_follow_each_other_and_share_the_params() -> None:
    first, second = "{sparsity: '0.5,0.6', seed: '1'}", "{sparsity: '0.7', seed: '3,4'}"
    found = jobs(grids(first, second), prune="magnitude", seed="9")
    assert shown(found, "sparsity", "seed") == [(0.5, 1), (0.6, 1), (0.7, 3), (0.7, 4)]
    assert {job.config.prune["name"] for job in found if job.config} == {"magnitude"}


def test_a_run_of_two_grids_runs_once_in_whatever_words() -> None:
    found = jobs(
        grids(
            "{refine: none}",
            "{refine: dsnot, refine.max_cycles: '5,auto'}",
            "{refine: dsnot, sparsity: '0.5'}",  # auto and 0.5 are the defaults
            "{seed: '0', refine: none, sparsity: '0.50'}",
        )
    )
    cycles = [job.config.refine.get("max_cycles") for job in found if job.config]
    assert cycles == [None, 5, "auto"]
    assert len({job.identity for job in found}) == len(found)


def test_a_typed_key_replaces_it_in_every_grid() -> None:
    parts = grids("{sparsity: '0.5,0.6'}", "{sparsity: '0.7', prune: magnitude}")
    found = jobs(parts, "prune=wanda", "seed=0,1", "sparsity=0.6")
    assert shown(found, "sparsity", "seed") == [(0.6, 0), (0.6, 1)]


def test_real_begins_with_its_main_table() -> None:
    with composed("+sweeps=real", "sparsity=0.6") as config:
        found = words_of(config, GlobalHydra.instance().config_loader())
    varied = ("prune", "refine.max_cycles", "calib.samples", "sparsity")
    values = [dict(word.split("=") for word in job) for job in found]
    first = [tuple(one.get(key) for key in varied) for one in values[:9]]
    pruners = ("magnitude", "wanda", "sparsegpt")
    assert first == [(p, None, "32", "0.6") for p in pruners] + [
        (p, cycles, "32", "0.6") for p in pruners for cycles in ("50", "auto")
    ]


def test_the_sweeper_runs_what_was_planned(command: Command, tmp_path: Path) -> None:
    words = ["-m", *toy_arguments(tmp_path), "refine=none", "hydra.sweeper.max_batch_size=1"]
    parts = grids("{prune: magnitude, sparsity: '0.6,0.7'}", "{prune: magnitude, seed: '0,1'}")
    done = command(*words, parts, "sparsity=0.6", "sweep=two", run="")
    assert done.code == 0, done.err
    assert "sweep two: 2 runs, 0 finished" in done.out
    assert "2 of 2 runs finished" in done.out
    results = list(command.folder.glob("outputs/two/*/result.json"))
    assert [json.loads(path.read_text())["config"]["sparsity"] for path in results] == [0.6] * 2
    assert "job 3" not in done.out
