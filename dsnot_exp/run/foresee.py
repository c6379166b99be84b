"""What configured runs need and cost, as plain data.

It may be found out in a process of its own. On a GPU, torch takes about half a gigabyte for each
process that has touched it, until the process ends, and a process that was forked after that cannot
use the GPU. With a launcher, the process of the sweep computes nothing, and its jobs need the
memory.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from dsnot_exp.config import Config
from dsnot_exp.models.loading import positions
from dsnot_exp.models.source import Source
from dsnot_exp.run.check_model import settle_lengths
from dsnot_exp.run.disk import Written, written
from dsnot_exp.run.forecast import price
from dsnot_exp.run.model_shape import ModelShape, model_key
from dsnot_exp.run.plan import make_plan
from dsnot_exp.run.price import Price
from dsnot_exp.run.rates import Rates
from dsnot_exp.run.work import PlannedRun
from dsnot_exp.utils import accelerator
from dsnot_exp.utils.errors import DsnotError


@dataclass(frozen=True)
class ModelNeeds:
    """parameters; bytes of the weights, and their dtype
    whole: whether the device holds all of them; a CPU does if they fit into memory. None: not asked
    peak: bytes of the device that a run takes, about; None: not measured, or a CPU
    calibration: seconds that the calibration tokens take in one block, and how many they are
    absent: why nothing was measured
    """

    parameters: int
    bytes: int
    dtype: str
    whole: bool | None = None
    peak: int | None = None
    calibration: tuple[float, int] | None = None
    absent: str | None = None


@dataclass(frozen=True)
class Foreseen:
    """prices, written: of each run, in their order; None: its model is not known
    models: by `model_key`; refused: why a model cannot be used
    device: its name; memory: the bytes that it has, if it is an accelerator, else 0
    """

    prices: list[Price]
    written: list[Written | None]
    models: dict[str, ModelNeeds] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    device: str = ""
    memory: int = 0


def foresee(
    runs: Sequence[Config],
    sources: Mapping[str, Source],
    processes: int = 1,
    measures: bool = True,
    threads: int | None = None,
) -> Foreseen:
    """sources: by `model_key`, where the models are; processes: of one run, and threads of each;
    measures: whether times are wanted, on this machine"""
    shapes: dict[str, ModelShape] = {}
    refused: dict[str, str] = {}
    known: list[PlannedRun | None] = []
    for config in runs:
        key = model_key(config.model)
        try:
            if key in sources and key not in shapes and key not in refused:
                shapes[key] = ModelShape.of(config.model, sources[key])
            known.append(_planned(config, shapes[key]) if key in shapes else None)
        except DsnotError as error:
            refused[key] = str(error)
            known.append(None)
    planned, rates = [run for run in known if run is not None], Rates(processes)
    if measures:
        with threads_of_torch(threads):
            rates.measure(planned)
    device = planned[0].plan.device if planned else torch.device("cpu")
    asked = measures and accelerator.is_accelerator(device)
    return Foreseen(
        [Price() if run is None else price(run, rates) for run in known],
        [None if run is None else written(run.plan, run.shape) for run in known],
        {run.shape.key: _needs(run, rates, measures) for run in planned},
        refused,
        accelerator.name(device),
        accelerator.total_memory(device) if asked else 0,
    )


def foresee_apart(
    runs: Sequence[Config], sources: Mapping[str, Source], processes: int = 1
) -> Foreseen:
    """The same in a process of its own."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, fresh) as pool:
        return pool.submit(foresee, runs, sources, processes).result()


@contextmanager
def threads_of_torch(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _planned(config: Config, shape: ModelShape) -> PlannedRun:
    plan = settle_lengths(make_plan(config), positions(shape.model.config))
    return PlannedRun(plan, shape)


def _needs(run: PlannedRun, rates: Rates, measures: bool) -> ModelNeeds:
    shape, device = run.shape, run.plan.device
    rate = rates.blocks.get(shape.key)
    tokens = run.plan.config.calib.samples * run.seqlen
    whole = shape.whole(device) if measures else None
    peak = None
    if rate is not None and accelerator.is_accelerator(device):
        weights = shape.weight_bytes if whole else shape.around_bytes + shape.block_bytes
        peak = weights + rate.beside
    return ModelNeeds(
        shape.parameters,
        shape.weight_bytes,
        str(shape.dtype).removeprefix("torch."),
        whole,
        peak,
        None if rate is None else (rate.token * tokens, tokens),
        rates.absent.get(shape.key),
    )
