"""Passes of a method through a model: a short one to warm up, then one or more that count."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from statistics import median
from typing import TypeVar

import torch
from torch import Tensor

from dsnot_exp.run.clock import PHASES
from dsnot_exp.run.plan import Plan
from dsnot_exp.utils.batch_size import per_forward
from dsnot_exp.walk.hidden_states import Storage, choose_place
from tests.benchmarks.gpu.bench import Bench, OutOfTime, Row, Subject
from tests.benchmarks.gpu.homes import FEW, Home
from tests.benchmarks.models import random_ids
from tests.benchmarks.streaming import SHAPES, VOCABULARY
from tests.benchmarks.walks import OnBlock, Walk, floor_pass, method_pass, plan_of_method

T = TypeVar("T")
FLOOR = "floor"
ENOUGH = 15.0  # seconds of a subject's passes, after which there is no further one
SAMPLE = "sample"  # how a run measures errors by default


class WarmedUp(Exception):
    """The first block is done: all kernels are compiled and loaded."""


def on_method(home: Home, method: str, relative_error: str = SAMPLE) -> Subject:
    """method: `floor`, or as walks.plan_of_method"""
    name = method if relative_error == SAMPLE else f"{method}, relative_error={relative_error}"

    def run(bench: Bench) -> list[Row]:
        plan = None if method == FLOOR else plan_of_method(method, bench, relative_error)
        walks, place = passes(bench, home, plan)
        bench.learn(home.work(method, bench).on(bench.rates), walks[0].seconds)
        return [of_shape(bench, home, name) | row(home, walks) | {"states": place}]

    return Subject(f"{home.group}/{name}", run, lambda bench: home.work(method, bench))


def passes(bench: Bench, home: Home, plan: Plan | None) -> tuple[list[Walk], str]:
    """The passes, and where the hidden states were. plan: None for the floor"""
    ids = calibration(bench, plan.held_out if plan is not None else 0)
    place = place_of(bench, home, ids, plan)
    storage = Storage(place, bench.scratch)

    def once(count: int, on_block: OnBlock) -> Walk:
        placed = home.open(bench)
        first, held_out = ids[:count], ids[bench.sequences :]
        if plan is None:
            return floor_pass(placed, first, storage, on_block)
        return method_pass(
            placed, first, plan, held_out=held_out, storage=storage, on_block=on_block
        )

    with suppress(WarmedUp):
        once(FEW * per_forward(bench.tokens), stop_after_one)
    check = in_time(bench, home.layers)
    walks = repeated(bench, lambda: once(bench.sequences, check), lambda walk: walk.seconds)
    return walks, place


def repeated(bench: Bench, once: Callable[[], T], seconds: Callable[[T], float]) -> list[T]:
    """At least one pass; a further one where there is time for it."""
    found = [once()]
    while (
        len(found) < bench.sizes.repeats
        and sum(map(seconds, found)) < ENOUGH
        and bench.spares(seconds(found[0]))
    ):
        found.append(once())
    return found


def calibration(bench: Bench, apart: int = 0) -> Tensor:
    """(sequences, tokens); the last ones, `apart`, are held out."""
    return random_ids(VOCABULARY, bench.sequences + apart, bench.tokens, bench.device)


def place_of(bench: Bench, home: Home, ids: Tensor, plan: Plan | None) -> str:
    """Where the hidden states are kept, as a run chooses it; weights are not on the device yet."""
    two = plan is not None and plan.recipe is not None and plan.recipe.dense_stream
    states = ids.numel() * SHAPES[home.shape][0] * getattr(torch, bench.dtype).itemsize
    return choose_place("auto", states * (1 + two), bench.device)


def of_shape(bench: Bench, home: Home, method: str) -> Row:
    """What a method was measured on."""
    return {
        "method": method,
        "shape": home.shape,
        "blocks": home.layers,
        "of": home.of,
        "sequences": bench.sequences,
        "tokens": bench.tokens,
        "dtype": bench.dtype,
    }


def row(home: Home, walks: list[Walk]) -> Row:
    """seconds: of a middle block, one per pass; median: over the middle blocks of all passes
    whole_seconds: of each pass; computed_seconds: of the whole model, from the two
    """
    middles = [block for walk in walks for block in walk.blocks[1:-1]]
    phases = {phase: median(block[phase] for block in middles) for phase in (*PHASES, "all")}
    middle = phases.pop("all")
    whole = [walk.seconds for walk in walks]
    return {
        "batch": walks[0].batch,
        "seconds": [walk.middle() for walk in walks],
        "median": middle,
        "phases": phases,
        "whole_seconds": whole,
        "computed_seconds": median(whole) + (home.of - home.layers) * middle,
        "passes": [walk.blocks for walk in walks],
    } | {kind: max(walk.memory[kind] for walk in walks) for kind in walks[0].memory}


def stop_after_one(done: int) -> None:
    raise WarmedUp


def in_time(bench: Bench, blocks: int) -> OnBlock:
    def check(done: int) -> None:
        if bench.left < 0 and done < blocks:
            raise OutOfTime(f"the time was over after {done} of {blocks} blocks")

    return check
