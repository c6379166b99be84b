"""A processor without products of half precision is named before the weights are loaded."""

from __future__ import annotations

import pytest
import torch

from dsnot_exp.run import slow_dtype
from tests.support.command import Command, toy_folder

CPU = torch.device("cpu")


@pytest.mark.parametrize("supported", [False, True])
def test_half_precision_is_slow_where_it_is_emulated(
    supported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_dtype, "multiplies", lambda dtype: supported)
    said = slow_dtype.slow_dtype(torch.bfloat16, CPU)
    assert (said is None) is supported
    if said:
        assert said.startswith("bfloat16 is ")
        assert said.endswith("; set model.dtype=float32")
    assert slow_dtype.slow_dtype(torch.float32, CPU) is None
    assert slow_dtype.slow_dtype(torch.float16, torch.device("cuda")) is None


def test_this_processors_answer_is_known() -> None:
    assert isinstance(slow_dtype.multiplies(torch.bfloat16), bool)
    assert isinstance(slow_dtype.multiplies(torch.float16), bool)


@pytest.mark.parametrize(("dtype", "times"), [("bfloat16", 1), ("float32", 0)])
def test_a_run_says_so(
    dtype: str, times: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_dtype, "multiplies", lambda dtype: False)
    model = toy_folder(command.folder / "llama")
    done = command(
        "model=local", f"model.path={model}", f"model.dtype={dtype}", "prune=magnitude",
        "refine=none", "eval=none", "wandb=disabled",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.out.count("warning   bfloat16 is several times slower than float32") == times
