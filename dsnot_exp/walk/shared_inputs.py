"""Which linears of a block receive the same input, and so share its statistics."""

from __future__ import annotations

from torch import Tensor

from dsnot_exp.models.kept_dense import setting
from dsnot_exp.models.linears import is_routed
from dsnot_exp.utils.errors import RunError


class SharedInputs:
    """q, k and v receive the same tensor: the first of them is the leader, and the others use its
    statistics. The first forward shows which linears share. The tensors are kept until the forward
    ends, so that reused memory is not mistaken for the same input."""

    def __init__(self) -> None:
        self.leader: dict[str, str] = {}
        self._seen: list[tuple[Tensor, int, str]] = []  # an input, its version then, its leader
        self._received: dict[str, list[int]] = {}  # by linear, places in `_seen`

    def clear(self) -> None:
        """Another forward begins."""
        self._seen.clear()
        self._received.clear()

    def leads(self, name: str, inputs: Tensor) -> bool:
        """Whether these inputs count for the statistics of linear `name` itself."""
        same = (i for i, (t, version, _) in enumerate(self._seen) if _same(t, version, inputs))
        place = next(same, None)
        if place is None:
            self._seen.append((inputs, inputs._version, name))
            place = len(self._seen) - 1
        self._received.setdefault(name, []).append(place)
        return self.leader.setdefault(name, self._seen[place][2]) == name

    def refuse_partly_shared(self, block: str) -> None:
        """Raise at the end of a forward if a linear has received its leader's first input, but not
        the same inputs throughout: neither's statistics would be right for it."""
        for name, leader in self.leader.items():
            if self._received.get(name) != self._received.get(leader) and not is_routed(name):
                raise RunError(
                    f"{block}.{name}: called several times in one forward, with inputs that "
                    f"{leader} receives in part; to keep it dense, set {setting([name])}"
                )


def _same(a: Tensor, version: int, b: Tensor) -> bool:
    """Whether `b` views the memory of `a`, unchanged since `a` had this version."""
    return (
        a.data_ptr() == b.data_ptr()
        and a.shape == b.shape
        and a.stride() == b.stride()
        and version == b._version
    )
