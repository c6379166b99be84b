"""Methods of the caller, of which objects are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from dsnot_exp.methods import registry
from dsnot_exp.methods.block_protocols import trains_blocks
from dsnot_exp.methods.plugins.conformity import refuse_unless_conforming
from dsnot_exp.utils.errors import DsnotError
from dsnot_exp.walk.recipe import Recipe

GROUPS = ("prune", "refine", "allocate", "reconstruct")


@dataclass(frozen=True)
class Own(registry.Ours):
    """A method of the caller, of which an object was given; its options are its fields."""

    def load(self) -> type:
        return self.options


@contextmanager
def own_methods(arguments: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The objects whose classes are not known, by group. In this context they are, and have been
    checked against the protocols. arguments: methods by group"""
    own: dict[str, Any] = {}
    added: list[tuple[str, str]] = []
    try:
        for group, method in arguments.items():
            kind = type(method)
            known = any(name_of(other, method) is not None for other in GROUPS)
            if not is_dataclass(kind) or known:
                continue
            refuse_unless_conforming(f"{group}={kind.__name__}()", group, kind)
            name = f"{kind.__module__}.{kind.__qualname__}"
            registry.OURS[group][name] = Own("", kind)
            added.append((group, name))
            own[group] = method
        yield own
    finally:
        for group, name in added:
            del registry.OURS[group][name]


def with_own(recipe: Recipe, own: Mapping[str, Any]) -> Recipe:
    """The recipe with the caller's objects themselves. own: by group"""
    places = {"prune": "pruner", "refine": "refiner", "allocate": "allocator"}
    for group, method in own.items():
        block = group == "reconstruct" and trains_blocks(method)
        place = "block_reconstructor" if block else places.get(group, "reconstructor")
        recipe = replace(recipe, **{place: method})
    return recipe


def name_of(group: str, method: Any) -> str | None:
    """The name of a method's class in a group. Of two names for one class the first."""
    kind = type(method)
    place = f"{kind.__module__}:{kind.__qualname__}"
    for name in registry.names(group):
        ours = registry.OURS[group].get(name)
        if isinstance(ours, Own):
            if kind is ours.options:
                return name
        elif ours is not None:
            if place == f"dsnot_exp.methods.{ours.place}":
                return name
        elif _plugin_of(group, name) is kind:
            return name
    return None


def _plugin_of(group: str, name: str) -> type | None:
    try:
        return registry.method(group, name)
    except DsnotError:  # a broken one: reported when it is chosen
        return None
