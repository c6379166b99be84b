"""Begins and ends the tracking of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dsnot_exp.config import Config
from dsnot_exp.results.privacy import private
from dsnot_exp.results.tracking.choose import trackers
from dsnot_exp.results.tracking.ledger import Ledger
from dsnot_exp.results.tracking.tracker import Begun
from dsnot_exp.results.tracking.tracking import Tracking
from dsnot_exp.results.tracking.wandb_run import WandbRun
from dsnot_exp.results.tracking.wandb_words import agent, wandb_id
from dsnot_exp.run.plan import Plan
from dsnot_exp.run.state import RunState
from dsnot_exp.utils.console import say
from dsnot_exp.utils.distributed import Ranks
from dsnot_exp.utils.errors import INTERRUPTED, DsnotError


@contextmanager
def begin_tracking(plan: Plan, identity: str, folder: Path, state: RunState) -> Iterator[Tracking]:
    """Report the run from here on. If it fails, its trackers learn the exit code."""
    first = plan.ranks.first
    ledger = Ledger(state.folder if first and state.keeps else None, state.identity)
    tracking = Tracking(
        trackers(plan.config) if first else {},
        _begun(folder, private(asdict(plan.config)), identity),
        ledger,
        state.clock.account,
    )
    try:
        yield tracking
    except BaseException as error:
        tracking.crash(_exit_code(error))
        raise


def track_finished(config: Config, folder: Path, result: dict[str, Any], ranks: Ranks) -> None:
    """A run that a W&B agent has started is logged although it was finished before: the sweep needs
    its metrics."""
    if not (ranks.first and agent() and "wandb" in config.track and config.wandb.mode == "online"):
        return
    begun = _begun(folder, result["config"], result["config_hash"])
    figure = folder / "errors.png"
    tracking = Tracking({"wandb": WandbRun(online=True)}, begun, Ledger(None, ""), dict)
    say_trackers(tracking.finish(result, figure if figure.exists() else None))


def say_trackers(lines: dict[str, str]) -> None:
    for name, line in lines.items():
        say(f"{name:<9} {line}")


def _begun(folder: Path, config: dict[str, Any], config_hash: str) -> Begun:
    return Begun(folder, config, wandb_id(config["sweep"], config_hash))


def _exit_code(error: BaseException) -> int:
    if isinstance(error, DsnotError):
        return error.exit_code
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
