"""What a sweep will do, in a few lines, before its first run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from dsnot_exp.config import ModelConfig
from dsnot_exp.launch.estimate import time_left
from dsnot_exp.launch.jobs import Planned
from dsnot_exp.models import smollm2_folder

if TYPE_CHECKING:  # slow: torch
    from dsnot_exp.launch.outlook import Outlook

NAMES_SHOWN = 12


def announcement(plan: Planned, config: DictConfig) -> list[str]:
    """Lines with the number of runs and of finished ones, and with what the others need and
    share."""
    jobs = plan.jobs
    done = [job for job in jobs if job.done]
    refused = [job for job in jobs if job.refusal is not None]
    needed = [job for job in jobs if job.config is not None and not job.done]
    counts = [_runs(len(jobs)), f"{len(done)} finished", f"{len(needed)} to run"]
    counts += [f"{len(refused)} refused"] if refused else []
    lines = [f"sweep {config.sweep}: {', '.join(counts)}"]
    repeated = plan.combinations - len(jobs)
    if repeated:
        verb = "is the same run as another" if repeated == 1 else "are the same run as others"
        lines += [f"  same      {repeated} of {plan.combinations} combinations {verb}"]
    lines += [f"  left out  {_some(plan.left_out)}"] if plan.left_out else []
    lines += [f"  finished  {_some([job.folder.name for job in done])}"] if done else []
    sharing = [job.sparse for job in needed if job.sparse is not None]
    if len(set(sharing)) < len(sharing):
        lines += [f"  shared    {len(set(sharing))} sparse models, by {_runs(len(sharing))}"]
    models = [job.config.model for job in needed if job.config is not None]
    named = Counter(f"{model.path or model.name} ({_where(model)})" for model in models)
    return [*lines, *([f"  needs     {_some(list(named))}"] if named else [])]


def outlook(plan: Planned, ahead: Outlook) -> Iterator[str]:
    """Lines with what the runs need, and with their time if that can be told."""
    yield from ahead.needs()
    left = time_left(ahead.jobs, plan.jobs, ahead.ahead) or ahead.no_time()
    if left is not None:
        yield f"  time      {left}"


def _where(model: ModelConfig) -> str:
    path, revision = model.path, model.revision
    if smollm2_folder.is_it(model):
        return "in the cache" if smollm2_folder.is_made() else f"absent: type {smollm2_folder.MAKE}"
    if path is None:
        return "bundled"
    place = Path(path).expanduser()
    if place.exists():
        return "folder" if place.is_dir() else "file"
    from huggingface_hub import try_to_load_from_cache

    try:
        known = isinstance(try_to_load_from_cache(path, "config.json", revision=revision), str)
    except ValueError:  # not a hub id
        return "not found"
    return "in the cache" if known else "to be downloaded"


def _runs(count: int) -> str:
    return f"{count} run{'s' if count != 1 else ''}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
