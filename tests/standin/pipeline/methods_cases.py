"""Every method on the device against the same method on the CPU: the same masks, and weights that
differ by rounding alone.

Collected by test_pipeline.py only, in a process that has the device.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

import dsnot_exp
from tests.support.families import build, tokens

IDS = tokens(12, 24, 1)
HELD_OUT = {"held_out": 4}

COMPOSITIONS: dict[str, dict[str, Any]] = {
    "magnitude": {"prune": "magnitude", "refine": None},
    "magnitude, matrix": {"prune": {"name": "magnitude", "scope": "matrix"}, "refine": None},
    "wanda": {"prune": "wanda", "refine": None},
    "wanda, 2:4": {"prune": "wanda", "refine": None, "pattern": "2:4"},
    "ria": {"prune": "ria", "refine": None},
    "sparsegpt": {"prune": "sparsegpt", "refine": None},
    "sparsegpt, 2:4": {"prune": "sparsegpt", "refine": None, "pattern": "2:4"},
    "alps": {"prune": "alps", "refine": None},
    "alps, full schedule": {"prune": {"name": "alps", "schedule": "full"}, "refine": None},
    "dsnot": {"refine": {"name": "dsnot", "max_cycles": 50}},
    "dsnot, chosen cycles": {"refine": "dsnot", **HELD_OUT},
    "dsnot, 2:4": {"refine": {"name": "dsnot", "max_cycles": 9}, "pattern": "2:4"},
    "dsnot, guard": {"refine": {"name": "dsnot", "max_cycles": 9, "guard": True}, **HELD_OUT},
    "dsnot, random": {"refine": {"name": "dsnot", "max_cycles": 9, "grow": "random"}},
    "dsnot, official": {"refine": {"name": "dsnot_official", "max_cycles": 9}},
    "dsnot on sparsegpt": {"prune": "sparsegpt", "refine": {"name": "dsnot", "max_cycles": 9}},
    "swaps": {"refine": "swaps"},
    "swaps, 2:4": {"refine": "swaps", "pattern": "2:4"},
    "moments": {"refine": "moments", **HELD_OUT},
    "cg": {"refine": None, "reconstruct": "cg"},
    "admm": {"refine": None, "reconstruct": "admm"},
    "lstsq": {"refine": None, "reconstruct": "lstsq"},
    "block": {"refine": None, "reconstruct": "block"},
    "target": {"prune": "sparsegpt", "refine": None, "target": (0.5, 0.25)},
    "fisher": {"refine": None, "allocate": "fisher"},
    "owl": {"refine": None, "allocate": "owl"},
    "alpha": {"refine": None, "allocate": "alpha"},
    "search": {"refine": None, "allocate": "search", **HELD_OUT},
    "exact errors": {"refine": None, "relative_error": True},
    "best": {"method": "best"},
    "fast": {"method": "fast", **HELD_OUT},
}  # fmt: skip


def solved(options: dict[str, Any], device: str, family: str, dtype: torch.dtype) -> Any:
    """The sparse model, whose weights are back on the CPU."""
    model = build(family).to(dtype)
    given = {} if "method" in options else {"prune": "wanda"}
    given |= {"sparsity": None if "pattern" in options else 0.6} | options
    dsnot_exp.prune(model, calibration=IDS, seed=0, device=device, progress=False, **given)
    return model


def masks(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight == 0 for name, weight in model.named_parameters() if weight.dim() > 1}


def assert_same(
    options: dict[str, Any], family: str = "llama", dtype: torch.dtype = torch.float32
) -> None:
    ours, theirs = (solved(options, device, family, dtype) for device in ("cpu", "standin"))
    assert {p.device.type for p in theirs.parameters()} == {"cpu"}
    expected = masks(ours)
    for name, mask in masks(theirs).items():
        assert torch.equal(mask, expected[name]), f"{name}: {(mask != expected[name]).sum()}"
    assert any(bool(mask.any()) for mask in expected.values())
    for (name, weight), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(other, weight, rtol=2e-3, atol=2e-3, msg=name)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_the_masks_are_those_of_the_cpu(name: str) -> None:
    assert_same(COMPOSITIONS[name])


@pytest.mark.parametrize("name", ["wanda", "dsnot", "sparsegpt", "swaps"])
def test_also_in_bfloat16(name: str) -> None:
    assert_same(COMPOSITIONS[name], dtype=torch.bfloat16)


@pytest.mark.parametrize("family", ["gpt2", "bloom", "gemma2", "mixtral", "gpt_oss", "bamba"])
def test_also_of_other_families(family: str) -> None:
    """Transposed weights, ALiBi, sliding windows, experts, state space layers."""
    assert_same(COMPOSITIONS["dsnot"] | {"min_tokens": 4}, family=family)
