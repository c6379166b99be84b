"""How many tokens a run sends through the blocks of its model. A forecast multiplies them by the
measured time of one token and one block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dsnot_exp.data.text_sizes import text_tokens
from dsnot_exp.methods.protocols import candidates
from dsnot_exp.run.model_shape import ModelShape
from dsnot_exp.run.plan import Plan
from dsnot_exp.walk.allocation import looks
from dsnot_exp.walk.collect import sampled_tokens
from dsnot_exp.walk.recipe import Recipe


@dataclass(frozen=True)
class WalkTokens:
    """Tokens through single blocks, added up over the blocks of one walk.

    collected: forwards that collect statistics; they may stop at the block's last linear
    followed: the dense stream's forwards
    propagated: forwards of solved blocks
    tried: forwards of held-out tokens, to choose a refinement budget; fewer if two candidates
        leave the same masks
    """

    collected: int = 0
    followed: int = 0
    propagated: int = 0
    tried: int = 0

    @property
    def alone(self) -> int:
        """Forwards that collect nothing. Where there is a dense stream, its forward of the tokens
        that are collected is timed with the collection."""
        beside = self.collected if self.followed else 0
        return self.followed - beside + self.propagated + self.tried


def walk_tokens(
    recipe: Recipe, samples: int, held_out: int, seqlen: int, blocks: int
) -> WalkTokens:
    """Of a walk without block-wise training. samples, held_out: sequences of `seqlen` tokens"""
    if not recipe.needs:  # magnitude alone makes no forward
        return WalkTokens()
    apart = held_out * seqlen if recipe.holds_out else 0
    counted = samples * seqlen
    budgets = candidates(recipe.refiner)
    return WalkTokens(
        collected=blocks * counted,
        followed=blocks * (counted + apart) if recipe.dense_stream else 0,
        propagated=(blocks - 1) * (counted + apart),
        tried=blocks * (1 + len(budgets)) * apart if budgets else 0,
    )


def foreseen(recipe: Recipe) -> bool:
    """Whether the time of a walk follows from its forwards and from its methods on single
    layers."""
    return recipe.block_reconstructor is None and not looks(recipe.allocator)


@dataclass(frozen=True)
class PlannedRun:
    """A run, and the model that it is on. plan: with its sequence lengths settled"""

    plan: Plan
    shape: ModelShape

    @property
    def blocks(self) -> int:
        return len(self.shape.blocks[1])

    @property
    def seqlen(self) -> int:
        """Of calibration."""
        assert self.plan.config.calib.seqlen is not None
        return self.plan.config.calib.seqlen

    @property
    def recipes(self) -> list[Recipe]:
        """Of its own walk, and of that for the `pruned` stage."""
        recipe = self.plan.recipe
        return [] if recipe is None else [recipe, recipe.initializer_only()]

    @property
    def sampled(self) -> int:
        """Tokens that a layer's errors are measured on."""
        samples = self.plan.config.calib.samples
        return samples * sampled_tokens(self.seqlen, samples)

    def walk(self, recipe: Recipe) -> WalkTokens:
        samples, held_out = self.plan.config.calib.samples, self.plan.held_out
        return walk_tokens(recipe, samples, held_out, self.seqlen, self.blocks)

    def evaluated(self) -> int:
        """Tokens of one stage's perplexities, each through all blocks and the head."""
        evaluation, total = self.plan.config.eval, 0
        assert evaluation.seqlen is not None
        for name in evaluation.perplexity:
            tokens = text_tokens(name, evaluation.seqlen, self.shape.vocabulary)
            most = evaluation.blocks
            total += tokens if most is None else min(tokens, most * evaluation.seqlen)
        return total


def walks(runs: Iterable[PlannedRun]) -> Iterator[tuple[PlannedRun, Recipe]]:
    """The walks of these runs whose time can be foreseen."""
    for run in runs:
        yield from ((run, recipe) for recipe in run.recipes if foreseen(recipe))
