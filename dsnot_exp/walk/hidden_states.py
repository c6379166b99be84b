"""The hidden states of the sequences between two blocks: on the device, in memory or on disk."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor

from dsnot_exp.models.shards import raw
from dsnot_exp.utils import accelerator

log = logging.getLogger(__name__)

SHARE = 0.25  # of the free device or main memory; blocks and statistics need the rest


def choose_place(wanted: str, size: int, device: torch.device) -> str:
    """`auto`: the first of device, memory and disk with room for twice `size` bytes, because the
    journal still writes one copy while the next block changes the other."""
    if wanted != "auto":
        return wanted
    on_device = accelerator.is_accelerator(device)
    if on_device and 2 * size < SHARE * accelerator.free_memory(device):
        return "device"
    return "memory" if 2 * size < SHARE * psutil.virtual_memory().available else "disk"


@dataclass(frozen=True)
class _Parked:
    """A batch's place in the scratch file."""

    start: int
    shape: torch.Size
    dtype: torch.dtype


class States:
    """A list of micro-batches, (sequences, tokens, hidden) each. Reading one moves it to
    `device`."""

    def __init__(
        self, device: torch.device, place: str = "device", folder: Path | None = None
    ) -> None:
        self.device, self.place, self.folder = device, place, folder
        self._held: list[Tensor | _Parked] = []
        # The file has no name: the system frees it when this process ends, even if it is killed.
        self._file = tempfile.TemporaryFile(dir=folder) if place == "disk" else None  # noqa: SIM115
        self._end = 0

    def beside(self) -> States:
        """No states yet, in the same place."""
        return States(self.device, self.place, self.folder)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Tensor:
        held = self._held[i]
        if isinstance(held, Tensor):
            return held.to(self.device)
        assert self._file is not None
        states = torch.empty(held.shape, dtype=held.dtype)
        view = raw(states)
        done = 0
        while done < len(view):
            done += os.preadv(self._file.fileno(), [view[done:]], held.start + done)
        return states.to(self.device)

    def __setitem__(self, i: int, states: Tensor) -> None:
        held = self._held[i]
        self._held[i] = self._keep(states, held.start if isinstance(held, _Parked) else None)

    def append(self, states: Tensor) -> None:
        self._held.append(self._keep(states, None))

    def clear(self) -> None:
        self._held, self._end = [], 0

    def close(self) -> None:
        self.clear()
        if self._file is not None:
            self._file.close()

    def __del__(self) -> None:
        """A dense stream's states are dropped after each block, when the journal may still read
        them: the file is closed with the last reference."""
        if hasattr(self, "_file"):
            self.close()

    def snapshot(self) -> Iterator[Tensor]:
        """The batches as they are now, unaffected by later writes. Batches on disk are affected, so
        they must be read before the next write."""
        held = list(self._held)
        return (batch if isinstance(batch, Tensor) else self[i] for i, batch in enumerate(held))

    def split(self, size: int) -> None:
        """Micro-batches of at most `size` sequences from now on."""
        smaller: list[Tensor | _Parked] = []
        for held in self._held:
            if isinstance(held, Tensor):
                smaller += held.split(size)
                continue
            row = held.shape[1:].numel() * held.dtype.itemsize
            for first in range(0, held.shape[0], size):
                rows = min(size, held.shape[0] - first)
                shape = torch.Size([rows, *held.shape[1:]])
                smaller.append(_Parked(held.start + first * row, shape, held.dtype))
        self._held = smaller

    def _keep(self, states: Tensor, start: int | None) -> Tensor | _Parked:
        if self._file is None:
            return states.to(self.device if self.place == "device" else "cpu")
        states = states.cpu().contiguous()
        view = raw(states)
        if start is None:
            start, self._end = self._end, self._end + len(view)
        done = 0
        while done < len(view):
            done += os.pwrite(self._file.fileno(), view[done:], start + done)
        return _Parked(start, states.shape, states.dtype)


@dataclass(frozen=True)
class Storage:
    """Where the hidden states of a walk are kept.

    place: device, memory, disk, or auto: the first of them with room
    folder: of the scratch file on disk; None: the system's temporary folder
    """

    place: str = "auto"
    folder: Path | None = None

    def states(self, size: int, device: torch.device) -> States:
        """Room for `size` bytes of hidden states that are used on `device`."""
        place = choose_place(self.place, size, device)
        log.info("hidden states: %.2f GiB, kept in %s", size / 2**30, place)
        return States(device, place, self.folder)


AUTO = Storage()
