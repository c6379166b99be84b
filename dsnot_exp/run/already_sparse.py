"""A model that is sparse before the run: its zeros, how they came about, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsnot_exp import __version__
from dsnot_exp.models.placement import Placed
from dsnot_exp.models.source import Source
from dsnot_exp.models.sparse_record import KEY, read_record
from dsnot_exp.models.streamed import Streamed
from dsnot_exp.models.zeros import Counts, count_zeros, share
from dsnot_exp.results.method_names import GROUPS, joined, pretty
from dsnot_exp.results.privacy import private
from dsnot_exp.run.plan import Plan
from dsnot_exp.walk.sparsified import Sparsified

# The largest share of zeros of a model that counts as dense. Rounding to 8 bits makes about 1 % of
# the weights zero; rounding to 4 or 3 bits, as in .gguf files, up to 20 %.
DENSE = 0.05
DENSE_GGUF = 0.4
FACTS = ("pattern", "masks_sha256", "config_hash", "base", "base_sparse", "version")


@dataclass(frozen=True)
class Found:
    """zeros: counted, by layer
    sparse: the `model.sparse` field of result.json; None for a dense model
    warnings: what the user must know of it, one sentence each
    """

    zeros: Counts = field(default_factory=dict)
    sparse: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()


def look_for_zeros(placed: Placed, source: Source, prunes: bool) -> Found:
    """Count the zeros of a model that was just opened.

    prunes: the run prunes it, so its own zeros are not the result. Then only the middle block of a
        streamed model is read; all of them would take one more pass over the disk.
    """
    blocks = range(len(placed.blocks[1]))
    middle = [len(blocks) // 2]
    zeros = count_zeros(placed, middle if prunes and isinstance(placed, Streamed) else blocks)
    achieved, record = share(zeros), read_record(source) or {}
    recorded: float = record.get("sparsity", 0.0)
    limit = min(DENSE if source.gguf is None else DENSE_GGUF, recorded / 2 or 1.0)
    if achieved <= limit:
        warning = (
            f"{KEY} in the model's config.json calls it sparse, but {achieved:.1%} of its weights "
            "are zero: it is treated as dense."
        )
        return Found(zeros, None, (warning,) if recorded else ())
    sparse = {key: record.get(key) for key in (*GROUPS, *FACTS)} | {"sparsity": achieved}
    return Found(zeros, sparse, tuple(_warnings(sparse, prunes)))


def _warnings(sparse: dict[str, Any], prunes: bool) -> list[str]:
    methods = joined(sparse)
    by = f" by {pretty(methods)}" if methods else ""
    if prunes:
        return [
            f"The model was already sparse before this run pruned it: {sparse['sparsity']:.1%} "
            f"zeros{by}. The column before pruning is no dense model."
        ]
    if not by:
        return [
            f"The model is already sparse: {sparse['sparsity']:.1%} of the weights of its linear "
            "layers are zero. How it was pruned is not known."
        ]
    return []


def record_of(
    plan: Plan, source: Source, identity: str, before: Found, sparse: Sparsified | None
) -> dict[str, Any] | None:
    """What a saved model tells about itself; None for a dense one. It names no folder.

    identity: hash of the run's configuration; before: what the model was; sparse: what the run made
    of it, None with prune=none
    """
    if sparse is None:
        return before.sparse
    config, records = plan.config, sparse.records
    weights = sum(record.weights for record in records)
    record = {
        **{group: getattr(config, group)["name"] for group in GROUPS},
        "pattern": config.pattern,
        "sparsity": sum(record.zeros for record in records) / max(1, weights),
        "masks_sha256": sparse.masks_sha256,
        "config_hash": identity,
        "base": _base(plan, source),
        "base_sparse": before.sparse,
        "version": __version__,
    }
    shared: dict[str, Any] = private(record)
    return shared


def _base(plan: Plan, source: Source) -> str:
    """A name of the model that this run pruned: its id and commit on the hub, or the last part of
    its path."""
    if source.revision is not None:
        return f"{source.path}@{source.revision}"
    if plan.config.model.path is None:
        return plan.config.model.name
    return Path(source.place).resolve().name
