"""The device draws from generators of its own."""

from __future__ import annotations

import pytest
import torch

device = torch.get_device_module("standin")


def draw(**options: object) -> list[float]:
    return torch.randn(4, device="standin", **options).tolist()


def test_a_generator_serves_its_device_only() -> None:
    expected = "Expected a 'standin' device type for generator but found 'cpu'"
    for act in (
        lambda generator: draw(generator=generator),
        lambda generator: torch.randperm(4, generator=generator, device="standin"),
        lambda generator: torch.ones(4, device="standin").multinomial(2, generator=generator),
    ):
        with pytest.raises(RuntimeError, match=expected):
            act(torch.Generator())
    expected = "Expected a 'cpu' device type for generator but found 'standin'"
    for act in (
        lambda generator: torch.randn(4, generator=generator),
        lambda generator: torch.randperm(4, generator=generator),
    ):
        with pytest.raises(RuntimeError, match=expected):
            act(torch.Generator("standin"))


def test_a_seed_is_a_stream_of_its_own() -> None:
    torch.manual_seed(3)
    first = draw()
    here = torch.randn(4).tolist()
    torch.manual_seed(3)
    assert draw() == first
    assert here != first
    generator = torch.Generator("standin").manual_seed(3)
    assert draw(generator=generator) == first
    assert draw(generator=generator) != first
    assert generator.initial_seed() == 3


def test_each_device_has_one() -> None:
    torch.manual_seed(3)
    first = draw()
    assert torch.randn(4, device="standin:1").tolist() == first
    assert draw() != first


def test_states_are_kept_and_restored() -> None:
    state = device.get_rng_state()
    first = draw()
    device.set_rng_state(state)
    assert draw() == first
    generator = torch.Generator("standin").manual_seed(3)
    twin = generator.clone_state()
    assert draw(generator=generator) == draw(generator=twin)


def test_fork_rng_leaves_no_trace() -> None:
    torch.manual_seed(3)
    expected = draw()
    torch.manual_seed(3)
    with torch.random.fork_rng(devices=[0, 1]):
        draw()
    assert draw() == expected


def test_dropout_draws_there() -> None:
    ones = torch.ones(100, device="standin")
    before = torch.get_rng_state()
    torch.manual_seed(3)
    first = torch.nn.functional.dropout(ones, 0.5)
    assert not torch.equal(first, torch.nn.functional.dropout(ones, 0.5))
    torch.manual_seed(3)
    assert torch.equal(first, torch.nn.functional.dropout(ones, 0.5))
    torch.set_rng_state(before)
    torch.nn.functional.dropout(ones, 0.5)
    assert torch.equal(torch.get_rng_state(), before)
