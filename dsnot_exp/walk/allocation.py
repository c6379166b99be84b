"""Gives every layer of a dense model its pattern."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from torch import Tensor, nn

from dsnot_exp.methods.allocation import Allocator, Memory, Searcher, Site, Surveyor
from dsnot_exp.methods.patterns import NM, Pattern, Unstructured, parse
from dsnot_exp.methods.protocols import Needs, Pruner
from dsnot_exp.methods.registry import method
from dsnot_exp.models.linears import owned
from dsnot_exp.models.placement import Placed
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.walk.gradients import squared_gradients
from dsnot_exp.walk.hidden_states import AUTO, Storage
from dsnot_exp.walk.recipe import Recipe
from dsnot_exp.walk.survey import survey
from dsnot_exp.walk.trial import trial

NOT_SEEN = "not seen by the allocator: keeps the model's sparsity"


@dataclass(frozen=True)
class Given:
    """An allocator that has been asked already. notes: by layer, what the user should know"""

    patterns: Mapping[str, Pattern]
    notes: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, layers: Sequence[str], pattern: Pattern) -> dict[str, Pattern]:
        return {layer: self.patterns[layer] for layer in layers}


class Forgetful:
    """The memory of a search that starts anew each time."""

    def recall(self) -> Any:
        return None

    def keep(self, state: Any) -> None: ...


@dataclass(frozen=True)
class Stepping:
    """A memory that reports progress."""

    memory: Memory
    on_step: Callable[[], None]

    def recall(self) -> Any:
        return self.memory.recall()

    def keep(self, state: Any) -> None:
        self.memory.keep(state)
        self.on_step()


def looks(allocator: Allocator | Surveyor | Searcher) -> bool:
    """Whether an allocator looks at the model, so that it takes time."""
    return not callable(allocator)


def reads_tokens(allocator: Allocator | Surveyor | Searcher) -> bool:
    """Whether an allocator needs calibration tokens."""
    if not looks(allocator):
        return False
    asked: Any = allocator
    return hasattr(asked, "search") or bool(asked.needs) or bool(asked.gradients)


def needs_of(allocator: Allocator | Surveyor | Searcher) -> Needs:
    """The statistics that an allocator looks at, of one input after the other."""
    asked: Any = allocator
    if hasattr(asked, "search"):
        return trial_pruner(asked).needs
    needs: Needs = getattr(asked, "needs", frozenset())
    return needs


def trial_pruner(searcher: Searcher) -> Pruner:
    """How the model is pruned to compare allocations."""
    pruner: Pruner = method("prune", searcher.pruner)()
    return pruner


def steps(allocator: Allocator | Surveyor | Searcher, blocks: int) -> int:
    """How often `allocated` reports progress for a model of so many blocks."""
    asked: Any = allocator
    if hasattr(asked, "search"):
        return blocks + int(asked.steps)
    return 2 * blocks if asked.gradients else blocks


def allocated(
    placed: Placed,
    ids: Tensor | None,
    recipe: Recipe,
    *,
    storage: Storage = AUTO,
    batch_size: int | None = None,
    on_step: Callable[[], None] = lambda: None,
    on_note: Callable[[str], None] = lambda note: None,
    memory: Memory | None = None,
    ranks: Ranks = ALONE,
) -> Recipe:
    """`recipe` with the patterns that its allocator gives to the layers of a dense model. Looks at
    the model only if the allocator does.

    ids: calibration token ids (sequences, tokens)
    storage: of hidden states; batch_size: sequences per forward; on_step, on_note: progress
    memory: of a search that was interrupted
    """
    if not looks(recipe.allocator):
        return recipe
    sites = sites_of(placed.blocks, placed.dense)
    options: dict[str, Any] = {"storage": storage, "on_block": on_step, "ranks": ranks}
    tokens: dict[str, Any] = {"min_tokens": recipe.min_tokens, "batch_size": batch_size}
    if hasattr(recipe.allocator, "search"):
        assert ids is not None
        searcher = cast(Searcher, recipe.allocator)
        kept = Stepping(memory or Forgetful(), on_step)
        pruner = trial_pruner(searcher)
        with trial(placed, ids, searcher.samples, pruner, **tokens, **options) as distance:
            found = searcher.search(sites, recipe.pattern, distance, kept, recipe.seed)
        return replace(recipe, allocator=Given(found))
    surveyor, gradients = cast(Surveyor, recipe.allocator), None
    if surveyor.gradients:
        assert ids is not None
        gradients = squared_gradients(placed, ids[: surveyor.gradients], **options)
    seen = survey(placed, ids, surveyor, gradients, **tokens, **options)
    notes = {layer: NOT_SEEN for layer in sites if layer not in seen}
    if notes:
        on_note(f"{next(iter(notes))}: {NOT_SEEN} ({len(notes)} such layers in all)")
    patterns = surveyor.allocate(seen, sites, recipe.pattern)
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
