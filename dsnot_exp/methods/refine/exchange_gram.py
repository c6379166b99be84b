"""What a search for exchanges asks of a Gram matrix, which need not be stored."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Gram(Protocol):
    """A Gram matrix H (in, in). Without a `matrix`, it is mean mean^T off its diagonal."""

    @property
    def matrix(self) -> Tensor | None: ...
    @property
    def mean(self) -> Tensor | None: ...
    @property
    def diagonal(self) -> Tensor: ...

    def times(self, rows: Tensor) -> Tensor:
        """`rows: (rows, in)` @ H."""

    def rows(self, columns: Tensor) -> Tensor:
        """`columns: (...)` -> H's rows (..., in)."""

    def blocks(self, size: int) -> Tensor:
        """The blocks on the diagonal, (in / size, size, size)."""

    def bounds(self) -> tuple[Tensor, Tensor]:
        """a and b, (in,) each: |H_pk| is at most a_p b_k for any two columns p and k."""
