"""Models are located side by side, and nobody waits long."""

from __future__ import annotations

import threading
import time

import pytest

from dsnot_exp.config import ModelConfig
from dsnot_exp.models import at_hand as module
from dsnot_exp.models.at_hand import AtHand, at_hand
from dsnot_exp.models.source import Source, locate

BUNDLED = ModelConfig(name="tinyworld")
ABSENT = ModelConfig(name="local", path="/no/such/folder")


def test_a_folder_and_a_refusal() -> None:
    found = at_hand({"a": BUNDLED, "b": ABSENT})
    assert found["a"] == AtHand(locate(BUNDLED), 0)
    assert found["b"].refused.startswith("model.path=/no/such/folder: no such folder")
    assert found["b"].source is None


def test_what_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def slow(options: ModelConfig) -> Source:
        if options is ABSENT:
            answer.wait(10)
        return Source(options.name)

    monkeypatch.setattr(module, "locate", slow)
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    start = time.perf_counter()
    found = at_hand({"a": BUNDLED, "b": ABSENT})
    assert time.perf_counter() - start < 5
    answer.set()
    assert found == {"a": AtHand(Source("tinyworld"), 0), "b": AtHand()}
