"""Time per token: warm-up is left out, both models take turns, and equal models are called so."""

from __future__ import annotations

from typing import Any

import torch

from dsnot_exp.evaluate.speed import PAIRS, WARM_UP, Speed, compare, seconds_per_token
from tests.support.families import build, tokens


def test_the_time_of_every_token_but_the_first_counts(monkeypatch: Any) -> None:
    ticks = iter([0.0, 100.0, 101.0, 103.0, 104.0, 105.0])
    monkeypatch.setattr("dsnot_exp.evaluate.speed.time.perf_counter", lambda: next(ticks))
    # steps: 100, 1, 2, 1, 1
    assert seconds_per_token(build("llama"), tokens(1, 5), new=6) == 1.0


def test_eos_does_not_end_a_measurement() -> None:
    model = build("llama")
    model.config.eos_token_id = model.generation_config.eos_token_id = [*range(48)]
    assert seconds_per_token(model, tokens(1, 4), new=4) > 0


def test_models_take_turns_and_warm_up() -> None:
    calls: list[str] = []
    slow = iter([9.0] * WARM_UP + [2.0, 4.0, 2.0, 2.0, 2.0, 2.0, 2.0])

    def measured(model: str, prompt: Any) -> float:
        calls.append(model)
        return next(slow) if model == "dense" else 1.0

    found = compare("dense", "sparse", torch.ones(1, 1), measured=measured)
    first = calls[2 * WARM_UP :: 2]
    assert len(calls) == 2 * (WARM_UP + PAIRS)
    assert first == ["dense" if i % 2 == 0 else "sparse" for i in range(PAIRS)]
    assert (found.dense, found.sparse, found.ratio) == (2.0, 1.0, 0.5)
    assert found.spread == (0.25, 0.5)
    assert not found.same


def test_a_difference_within_the_noise_is_none() -> None:
    assert Speed(1.0, 0.98, 0.98, (0.97, 0.99)).same
    assert Speed(1.0, 0.9, 0.9, (0.5, 1.3)).same
    assert not Speed(1.0, 0.6, 0.6, (0.55, 0.7)).same
