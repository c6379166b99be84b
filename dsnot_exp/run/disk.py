"""What a run writes, as an upper bound, before it writes anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dsnot_exp.models.loading import hidden_size
from dsnot_exp.run.model_shape import ModelShape
from dsnot_exp.run.plan import Plan


def state_bytes(
    plan: Plan, config: Any, block_weights: int, itemsize: int, calibrates: bool
) -> int:
    """Of the state that lets the run resume; it is deleted when the result is written. plan: with
    its sequence lengths settled; block_weights: entries of all blocks; config: the model's"""
    states = _hidden_states(plan, config) if calibrates else 0
    return (block_weights + states) * itemsize


def _hidden_states(plan: Plan, config: Any) -> int:
    """The most entries of hidden states that are on disk together."""
    recipe, calib = plan.recipe, plan.config.calib
    if recipe is None:
        return 0
    assert calib.seqlen is not None
    sequence = calib.seqlen * hidden_size(config)
    states = (calib.samples + plan.held_out) * sequence * (2 if recipe.dense_stream else 1)
    # The gradients of an allocator take the inputs of every block, before the walk begins.
    blocks = getattr(config.get_text_config(), "num_hidden_layers", 0)
    taken = min(getattr(recipe.allocator, "gradients", 0), calib.samples)
    # 3 x: of two blocks while the newer is written, and a scratch file.
    return max(3 * states, blocks * taken * sequence)


def kept_bytes(keeps: str, weights: int, itemsize: int) -> int:
    """Of a sparse model that is kept for other runs, with so many prunable weights. keeps: masks,
    weights or none"""
    bits = -(-weights // 8)
    return {"none": 0, "masks": bits, "weights": 2 * bits + weights * itemsize}[keeps]


@dataclass(frozen=True)
class Written:
    """Bytes that a run writes, at most: its state, which it deletes at its end; one sparse model
    that it keeps; the model that it saves."""

    state: int
    kept: int
    saved: int


def written(plan: Plan, shape: ModelShape) -> Written:
    """plan: with its sequence lengths settled"""
    itemsize, config = shape.dtype.itemsize, plan.config
    saved = shape.weight_bytes if config.save else 0
    if plan.recipe is None:
        return Written(0, 0, saved)
    of_blocks = sum(p.numel() for p in shape.blocks[1].parameters())
    state = state_bytes(plan, shape.model.config, of_blocks, itemsize, plan.needs_calibration)
    prunable = sum(m.weight.numel() for block in shape.linears for m in block.values())
    return Written(state, kept_bytes(config.keep, prunable, itemsize), saved)
