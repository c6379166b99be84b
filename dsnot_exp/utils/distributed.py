"""Several processes on one model: `torchrun --nproc-per-node 4 -m dsnot_exp ...`.

Each process takes its share of the sequences and of the rows; the functions here combine their
results. Every process must make the same calls in the same order.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from dsnot_exp.utils import accelerator
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.torchrun import launched

T = TypeVar("T")
TIMEOUT = timedelta(days=7)  # the other processes wait while the first measures accuracy


@dataclass(frozen=True)
class Ranks:
    """This process's rank, and the number of processes."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes results, state and model."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's slice of `count` items; slice lengths differ by at most one."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in rank order."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def of_first(self, value: T) -> T:
        """The first process's value, in every process."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum `tensor` over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def total(self, value: float) -> float:
        """The sum of all processes' values, added in rank order."""
        return sum(self.gather(value))

    def concat(self, part: Tensor) -> Tensor:
        """Concatenate all processes' `part` along the rows; only the number of rows may differ."""
        if self.size == 1:
            return part
        counts = self.gather(len(part))
        raw = part.contiguous().reshape(len(part), -1).view(torch.uint8)  # any dtype, any backend
        padded = raw.new_zeros(max(counts), raw.shape[1])
        padded[: len(raw)] = raw
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        whole = torch.cat([p[:count] for p, count in zip(parts, counts, strict=True)])
        return whole.view(part.dtype).reshape(-1, *part.shape[1:])

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.size > 1:
            dist.barrier()

    def if_first(self, context: AbstractContextManager[T], else_: T) -> AbstractContextManager[T]:
        """`context` in the first process; in the others a context that yields `else_`."""
        return context if self.first else nullcontext(else_)


ALONE = Ranks()


def current() -> Ranks:
    if not (dist.is_available() and dist.is_initialized()):
        return Ranks()
    return Ranks(dist.get_rank(), dist.get_world_size())


def join() -> Ranks:
    """Join the process group if torchrun started this process. Each process has its own GPU."""
    if dist.is_available() and launched() and not dist.is_initialized():
        local, gpus = int(os.environ["LOCAL_RANK"]), accelerator.count()
        if gpus:
            if local >= gpus:
                raise RequestError(
                    f"torchrun --nproc-per-node={os.environ['LOCAL_WORLD_SIZE']}: this machine has "
                    f"{gpus} GPUs; start at most one process per GPU"
                )
            accelerator.use(local)
        dist.init_process_group(_backends(), timeout=TIMEOUT)
    return current()


def _backends() -> str:
    """What joins the processes, by kind of device: "cpu:gloo,cuda:nccl"."""
    device = accelerator.present()
    if device is None:
        return "gloo"
    try:
        own = dist.get_default_backend_for_device(device)
    except ValueError as error:
        raise RequestError(
            f"torchrun: torch {torch.__version__} has nothing that joins processes on "
            f"{device.type} devices; start one process without torchrun"
        ) from error
    return f"cpu:gloo,{device.type}:{own}"


def leave() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
