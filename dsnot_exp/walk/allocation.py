"""Gives every layer of a dense model its pattern."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from torch import Tensor, nn

from dsnot_exp.methods.allocation import Allocator, Searcher, Site, Surveyor
from dsnot_exp.methods.patterns import NM, Pattern, Unstructured, parse
from dsnot_exp.models.linears import owned
from dsnot_exp.models.placement import Placed
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.walk.gradients import squared_gradients
from dsnot_exp.walk.hidden_states import AUTO, Storage
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.survey import survey

NOT_SEEN = "not seen by the allocator: keeps the model's sparsity"


@dataclass(frozen=True)
class Given:
    """An allocator that has been asked already. notes: by layer, what the user should know"""

    patterns: Mapping[str, Pattern]
    notes: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, layers: Sequence[str], pattern: Pattern) -> dict[str, Pattern]:
        return {layer: self.patterns[layer] for layer in layers}


def looks(allocator: Allocator | Surveyor | Searcher) -> bool:
    """Whether an allocator looks at the model, so that it takes time."""
    return not callable(allocator)


def reads_tokens(allocator: Allocator | Surveyor | Searcher) -> bool:
    """Whether an allocator needs calibration tokens."""
    if not looks(allocator):
        return False
    method: Any = allocator
    return hasattr(method, "search") or bool(method.needs) or bool(method.gradients)


def passes(allocator: Allocator | Surveyor | Searcher) -> int:
    """How often an allocator looks at every block."""
    return 2 if getattr(allocator, "gradients", 0) else 1


def allocated(
    placed: Placed,
    ids: Tensor | None,
    recipe: Recipe,
    *,
    storage: Storage = AUTO,
    batch_size: int | None = None,
    on_block: Callable[[], None] = lambda: None,
    on_note: Callable[[str], None] = lambda note: None,
    ranks: Ranks = ALONE,
) -> Recipe:
    """`recipe` with the patterns that its allocator gives to the layers of a dense model. Looks at
    the model only if the allocator does.

    ids: calibration token ids (sequences, tokens)
    storage: of hidden states; batch_size: sequences per forward; on_block, on_note: progress
    """
    if not looks(recipe.allocator):
        return recipe
    surveyor, sites = cast(Surveyor, recipe.allocator), sites_of(placed.blocks, placed.dense)
    gradients = None
    if surveyor.gradients:
        assert ids is not None
        few = ids[: surveyor.gradients]
        gradients = squared_gradients(placed, few, storage=storage, on_block=on_block, ranks=ranks)
    found = survey(
        placed,
        ids,
        surveyor,
        gradients,
        min_tokens=recipe.min_tokens,
        storage=storage,
        batch_size=batch_size,
        on_block=on_block,
        ranks=ranks,
    )
    patterns = surveyor.allocate(found, sites, recipe.pattern)
    notes = {layer: NOT_SEEN for layer in sites if layer not in found}
    if notes:
        on_note(f"{next(iter(notes))}: {NOT_SEEN} ({len(notes)} such layers in all)")
    return replace(recipe, allocator=Given(patterns, notes))


def sites_of(blocks: tuple[str, nn.ModuleList], dense: Sequence[str] = ()) -> dict[str, Site]:
    """The place and size of each prunable layer, by its full name. `blocks`: the name of the list
    of blocks, and the list."""
    name, members = blocks
    return {
        f"{name}.{index}.{linear}": Site(f"{name}.{index}", *matrix.weight.shape)
        for index, own in enumerate(owned(members, dense))
        for linear, matrix in own.items()
    }


def allocation_hash(recipe: Recipe) -> str:
    """Of what each layer was given; empty where the allocator says it by itself."""
    if not isinstance(recipe.allocator, Given):
        return ""
    text = json.dumps(targets(recipe.allocator.patterns), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def targets(patterns: Mapping[str, Pattern]) -> dict[str, float | str]:
    """By layer its sparsity, or its N:M: plain data."""
    return {
        layer: str(pattern) if isinstance(pattern, NM) else pattern.sparsity
        for layer, pattern in patterns.items()
    }


def from_targets(found: Mapping[str, float | str]) -> dict[str, Pattern]:
    """What `targets` was given."""
    return {
        layer: parse(str(amount), None) if isinstance(amount, str) else Unstructured(amount)
        for layer, amount in found.items()
    }
