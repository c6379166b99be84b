"""Checks an allocation against the layers of the model, before its weights are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from torch import nn

from dsnot_exp.methods.allocation import Allocator
from dsnot_exp.methods.patterns import NM, Pattern
from dsnot_exp.run.check_allocation_options import FILE
from dsnot_exp.run.plan import Plan
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.walk.allocation import looks, sites_of
from dsnot_exp.walk.recipe import Recipe

NEAR = 0.005  # a file's total may differ from `sparsity` by so much


def known_patterns(recipe: Recipe, layers: Sequence[str]) -> dict[str, Pattern]:
    """The pattern of each layer, as far as it is known without the weights: an allocator that looks
    at them gives each layer the model's kind of pattern."""
    if looks(recipe.allocator):
        return dict.fromkeys(layers, recipe.pattern)
    return cast(Allocator, recipe.allocator)(layers, recipe.pattern)


def settle_total(plan: Plan, blocks: tuple[str, nn.ModuleList]) -> Plan:
    """Fill in the sparsity that a file of rules amounts to. RequestError if another was asked for.
    `blocks`: the name of the list of blocks, and the list"""
    recipe, config = plan.recipe, plan.config
    if recipe is None or config.allocate["name"] != FILE:
        return plan
    sites = sites_of(blocks, config.model.dense)
    patterns = known_patterns(recipe, list(sites))
    zeros = sum(_zeros(patterns[layer], site.width) * site.rows for layer, site in sites.items())
    total = zeros / sum(site.weights for site in sites.values())
    asked = config.sparsity
    if asked is not None and abs(float(asked) - total) > NEAR:
        raise RequestError(
            f"sparsity={asked}: allocate.path={config.allocate['path']} amounts to {total:.4f}; "
            "leave sparsity out, or change the file"
        )
    return replace(plan, config=replace(config, sparsity=round(total, 6)))


def _zeros(pattern: Pattern, width: int) -> int:
    """Pruned weights of a row."""
    return (
        width // pattern.m * (pattern.m - pattern.n)
        if isinstance(pattern, NM)
        else int(width * pattern.sparsity)
    )
