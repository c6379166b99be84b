"""How far the masks of two runs agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsnot_exp.runs.files import kept

REMEDY = "to compare them, run the command again with keep=masks rerun=true"


@dataclass(frozen=True)
class Layer:
    """name; jaccard: weights kept by both / kept by either; equal: share of entries that are the
    same in both masks"""

    name: str
    jaccard: float
    equal: float


@dataclass(frozen=True)
class MaskOverlap:
    """same: whether their hashes agree, None if a run has none; total: over all layers; why: what
    keeps them from being compared"""

    same: bool | None = None
    total: Layer | None = None
    layers: list[Layer] = field(default_factory=list)
    only_one: list[str] = field(default_factory=list)  # layers that one run alone has pruned
    why: str = ""


def mask_overlap(
    a: Path, result_a: dict[str, Any], b: Path, result_b: dict[str, Any]
) -> MaskOverlap:
    """Read and compare the kept masks of two runs by their folders and results."""
    hashes = [result.get("masks_sha256") for result in (result_a, result_b)]
    if None in hashes:
        return MaskOverlap(why="a run that pruned nothing has no masks")
    if hashes[0] == hashes[1]:
        return MaskOverlap(same=True)
    folders = (a, kept(a, result_a)), (b, kept(b, result_b))
    missing = [str(run) for run, place in folders if place is None]
    if missing:
        which = " and ".join(missing)
        return MaskOverlap(same=False, why=f"no masks are kept of {which}; {REMEDY}")
    return _compared([place for _, place in folders if place is not None], list(map(str, hashes)))


def _compared(places: list[Path], hashes: list[str]) -> MaskOverlap:
    from dsnot_exp.models.masks import NOTHING, load_masks, overlap  # slow: torch
    from dsnot_exp.walk.kept import KeptSparse

    try:
        for place, expected in zip(places, hashes, strict=True):
            found = KeptSparse.read(place)
            found.check()
            if found.masks_sha256 != expected:
                raise ValueError(f"{place} holds the masks of a later run; {REMEDY}")
        one, other = (load_masks(place) for place in places)
        pairs = overlap(one, other)
    except (OSError, ValueError) as error:
        return MaskOverlap(same=False, why=" ".join(str(error).split()))
    layers = [Layer(name, pair.jaccard, pair.share_equal) for name, pair in pairs.items()]
    together = sum(pairs.values(), NOTHING)
    total = Layer("all layers", together.jaccard, together.share_equal)
    return MaskOverlap(False, total, layers, sorted({*one} ^ {*other}))
