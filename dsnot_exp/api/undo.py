"""Puts a model back as it was, bit for bit, without a second copy of it.

Before a block is pruned, its parameters are copied to memory. Once it is pruned, only the entries
that have changed stay: a bit for every entry and the old values. So of a mask of 60 % zeros about
0.6 of the blocks' weights are kept in the end; of methods that move the kept weights too, all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dsnot_exp.models.packed import INTEGERS
from dsnot_exp.models.placement import Placed
from dsnot_exp.walk.loop import NoKeeper
from dsnot_exp.walk.record import Solved
from dsnot_exp.walk.view import BlockView


@dataclass(frozen=True)
class Changed:
    """What a tensor was. bits: of the entries that have changed, (ceil(entries / 8),) uint8, or
    None for all; values: theirs, as integers of the same size"""

    bits: np.ndarray | None
    values: Tensor

    @classmethod
    def between(cls, before: Tensor, after: Tensor) -> Changed | None:
        """before, after: flat, as integers; None if they are equal."""
        changed = before != after
        count = int(changed.count_nonzero())
        if not count:
            return None
        if count == len(before):
            return cls(None, before)
        return cls(np.packbits(changed.numpy()), before[changed])

    def into(self, present: Tensor) -> Tensor:
        """`present`, flat and as integers, with the old values."""
        if self.bits is None:
            return self.values
        at = np.unpackbits(self.bits, count=len(present))
        present[torch.from_numpy(at).bool()] = self.values
        return present


@dataclass
class Undo:
    """What the blocks were, by block in the order in which they were reached."""

    reached: dict[int, dict[int, Changed]] = field(default_factory=dict)
    tensors: dict[int, Tensor] = field(default_factory=dict)  # of the model, by id

    def before(self, block: nn.Module) -> None:
        """Keep a block that is going to be pruned."""
        if id(block) in self.reached:
            return
        kept = {}
        for tensor in block.parameters():
            self.tensors[id(tensor)] = tensor
            kept[id(tensor)] = Changed(None, _integers(tensor).clone())
        self.reached[id(block)] = kept

    def after(self, block: nn.Module) -> None:
        """Keep of a pruned block only what has changed."""
        kept = self.reached[id(block)]
        for key, old in list(kept.items()):
            changed = Changed.between(old.values, _integers(self.tensors[key]))
            if changed is None:
                del kept[key]
            else:
                kept[key] = changed

    @torch.no_grad()
    def restore(self) -> None:
        """Put everything back. A Ctrl-C meanwhile takes effect afterwards."""
        interrupted = None
        while self.reached:
            last = next(reversed(self.reached))
            try:
                for key, old in self.reached[last].items():
                    tensor = self.tensors[key]
                    flat = old.into(_integers(tensor))
                    tensor.data.copy_(flat.view(tensor.dtype).view(tensor.shape))
                del self.reached[last]
            except KeyboardInterrupt as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted


def _integers(tensor: Tensor) -> Tensor:
    """(entries,) in memory: the bits of a tensor, in which -0.0 and NaN are values like others."""
    flat = tensor.detach().contiguous().flatten()
    return flat.view(INTEGERS[flat.dtype.itemsize]).cpu()


@dataclass
class Watched(Placed):
    """A model whose blocks are kept before the walk changes them."""

    undo: Undo = field(default_factory=Undo)

    @contextmanager
    def fetch(self, block: nn.Module) -> Iterator[nn.Module]:
        with super().fetch(block) as module:
            self.undo.before(module)
            yield module


@dataclass
class Collected(NoKeeper):
    """Takes part in the walk: collects the masks, and lets `undo` know of every pruned block.

    masks: packed, by layer and shape
    solved: nothing, as no block was pruned earlier
    """

    undo: Undo
    masks: dict[str, Tensor] = field(default_factory=dict)
    solved: tuple[Any, ...] = ()

    def keep(self, view: BlockView, solved: Solved) -> None:
        self.masks |= solved.masks
        self.undo.after(view.module)
