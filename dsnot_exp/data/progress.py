"""How reading and sampling report progress, without knowing what shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Steps(Protocol):
    """The progress of one phase."""

    def advance(self, steps: float = 1) -> None: ...


Phase = Callable[[str, int, str], AbstractContextManager[Steps]]
"""`phase(name, total, what)` shows a phase of `total` steps."""


class _Unseen:
    def advance(self, steps: float = 1) -> None:
        pass


@contextmanager
def unseen(name: str, total: int, what: str) -> Iterator[Steps]:
    """A phase that nobody watches."""
    yield _Unseen()
