"""One pass of a method through a model's blocks, and the floor beside it: seconds by block and
phase, and peak memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from dsnot_exp.config import CalibConfig, Config, EvalConfig, ModelConfig, TargetConfig
from dsnot_exp.methods import registry
from dsnot_exp.models.placement import Placed
from dsnot_exp.run.clock import PHASES, Clock
from dsnot_exp.run.plan import Plan, make_plan
from dsnot_exp.utils.batch_size import per_forward
from dsnot_exp.walk.hidden_states import AUTO, Storage
from dsnot_exp.walk.sequences import begin
from dsnot_exp.walk.sparsify import sparsify

TARGET = 0.5, 0.25  # alpha and beta
OnBlock = Callable[[int], None]  # gets the number of blocks that are done


def plan_of_method(method: str, options: Any, relative_error: str) -> Plan:
    """method: a pruner and what follows, joined by +: a refiner, a reconstructor, `target`
    options: with `sequences`, `tokens`, `sparsity`, `max_cycles` and `device`"""
    prune, *rest = method.split("+")
    chosen = {"refine": "none", "reconstruct": "none"}
    for group in chosen:
        chosen[group] = next((one for one in rest if one in registry.OURS[group]), "none")
    refine: dict[str, Any] = {"name": chosen["refine"]}
    if chosen["refine"].startswith("dsnot"):
        refine["max_cycles"] = options.max_cycles
    target = TargetConfig(*TARGET) if "target" in rest else TargetConfig()
    return make_plan(
        Config(
            model=ModelConfig(name="random"),
            prune={"name": prune},
            refine=refine,
            allocate={"name": "uniform"},
            reconstruct={"name": chosen["reconstruct"]},
            calib=CalibConfig(samples=options.sequences, seqlen=options.tokens, target=target),
            eval=EvalConfig(name="none"),
            sparsity=options.sparsity,
            relative_error=relative_error,
            device=str(options.device),
        )
    )


@dataclass(frozen=True)
class Walk:
    """seconds: of the whole pass; blocks: of each block, by phase, `all` included. The first block
    has what comes before it, the embeddings; nothing is sent through the last one once it is
    sparse.
    batch: sequences per forward; memory: as `Clock.memory`
    """

    seconds: float
    blocks: list[dict[str, float]]
    batch: int
    memory: dict[str, int]

    def middle(self, phase: str = "all") -> float:
        """Seconds of a block that is neither the first nor the last."""
        return median(block[phase] for block in self.blocks[1:-1])

    def phases(self) -> dict[str, float]:
        """Seconds of the whole pass by phase."""
        return {phase: sum(block[phase] for block in self.blocks) for phase in PHASES}


class Marks:
    """The clock of a pass, read after each block."""

    def __init__(self, device: torch.device, on_block: OnBlock) -> None:
        self.clock, self.on_block = Clock(device), on_block
        self.blocks: list[dict[str, float]] = []
        self._before = dict.fromkeys(self._now(), 0.0)

    def __call__(self) -> None:
        now = self._now()
        self.blocks.append({phase: now[phase] - self._before[phase] for phase in now})
        self._before = now
        self.on_block(len(self.blocks))

    def walk(self, batch: int) -> Walk:
        seconds = time.perf_counter() - self.clock.start
        return Walk(seconds, self.blocks, batch, self.clock.memory())

    def _now(self) -> dict[str, float]:
        return {**self.clock.seconds, "all": time.perf_counter() - self.clock.start}


def method_pass(
    placed: Placed,
    ids: Tensor,
    plan: Plan,
    *,
    held_out: Tensor | None = None,
    storage: Storage = AUTO,
    on_block: OnBlock = lambda done: None,
) -> Walk:
    """Make the model sparse, as a run does. ids, held_out: (sequences, tokens)"""
    assert plan.recipe is not None
    marks = Marks(placed.device, on_block)
    held_out = held_out if plan.held_out else None
    streams: dict[str, Any] = {"held_out": held_out, "storage": storage}
    sparse = sparsify(placed, ids, plan.recipe, on_block=marks, timed=marks.clock, **streams)
    return marks.walk(sparse.batch or 0)


@torch.no_grad()
def floor_pass(
    placed: Placed, ids: Tensor, storage: Storage = AUTO, on_block: OnBlock = lambda done: None
) -> Walk:
    """The statistics of a dense block, and the inputs of the next by the sparse one: two forwards
    of all tokens through each block, the last one too."""
    marks = Marks(placed.device, on_block)
    with begin(placed, ids, per_forward(ids.shape[1]), storage) as sequences:
        with marks.clock("calibrate"):
            sequences.enter()
        for index, member in enumerate(sequences.blocks):
            with ExitStack() as fetched:
                with marks.clock("load"):
                    module = fetched.enter_context(sequences.fetch(member))

                def look(index: int = index, module: Any = module) -> None:
                    for states, call in zip(sequences.states, sequences.calls(index), strict=True):
                        call.replay(module, states)

                with marks.clock("calibrate"):
                    sequences.fitting(look)
                    sequences.propagate(index, module)
            marks()
        return marks.walk(sequences.size)
