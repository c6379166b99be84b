"""What the tests of sampling share."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest


@pytest.fixture
def _global_generator() -> Iterator[None]:
    """The released sampler draws from Python's global generator."""
    state = random.getstate()
    yield
    random.setstate(state)
