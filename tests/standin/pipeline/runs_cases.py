"""Whole runs by the command line on the device: the masks of the CPU, wherever the weights and the
hidden states are kept, after out of memory, after a stop, and with fine-tuning.

Collected by test_pipeline.py only, in a process that has the device.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import dsnot_exp
from dsnot_exp.models import placement
from dsnot_exp.run import rates
from dsnot_exp.utils import accelerator
from dsnot_exp.utils.words import size
from dsnot_exp.walk.solver import BlockSolver
from tests.support.command import Command, Outcome, masked_weights, toy_arguments
from tests.support.families import build, tokens

GIB = 2**30
PEAK = "peak_device_bytes"


@pytest.fixture
def toy(tmp_path: Path) -> list[str]:
    return [*toy_arguments(tmp_path), "sparsity=0.6", "eval.baselines=[dense,pruned]"]


@pytest.fixture
def on_cpu(command: Command, toy: list[str]) -> Outcome:
    return command(*toy, "device=cpu", "save=true", "keep=none", run="cpu")


def assert_same(found: Outcome, expected: Outcome) -> dict[str, Any]:
    assert (found.code, expected.code) == (0, 0), found.err + expected.err
    ours, theirs = found.result, expected.result
    assert ours["environment"]["device"].startswith("standin")
    assert theirs["environment"]["device"].startswith("cpu")
    assert ours["masks_sha256"] == theirs["masks_sha256"]
    assert ours["notes"] == theirs["notes"]
    for stages, others in zip(
        ours["metrics"]["perplexity"].values(),
        theirs["metrics"]["perplexity"].values(),
        strict=True,
    ):
        assert stages == pytest.approx(others, rel=1e-5)
    return ours


def test_auto_is_the_device_and_the_run_is_that_of_the_cpu(
    command: Command, toy: list[str], on_cpu: Outcome
) -> None:
    done = command(*toy, "save=true", "keep=none")
    result = assert_same(done, on_cpu)
    assert 0 < result["memory"][PEAK] < GIB
    for name, weight in masked_weights(on_cpu.folder).items():
        torch.testing.assert_close(masked_weights(done.folder)[name], weight)


def test_block_by_block_from_memory(
    command: Command, toy: list[str], on_cpu: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the model does not fit: the blocks come to the device one at a time, and accelerate
    spreads the model for perplexity, all of it over memory."""
    monkeypatch.setattr(placement, "RESERVE", torch.accelerator.get_memory_info()[1])
    monkeypatch.setattr(accelerator, "free_everywhere", lambda: {"cpu": GIB})
    assert_same(command(*toy, "keep=none", "eval.streaming=false"), on_cpu)


def test_block_by_block_from_disk_through_pinned_memory(
    command: Command, toy: list[str], on_cpu: Outcome
) -> None:
    before = torch.ops.standin.counters()["pinned_bytes"]
    assert_same(command(*toy, "keep=none", "model.streaming=true", "eval.streaming=true"), on_cpu)
    assert torch.ops.standin.counters()["pinned_bytes"] > before


@pytest.mark.parametrize("place", ["device", "memory", "disk"])
def test_hidden_states_in_any_place(
    place: str, command: Command, toy: list[str], on_cpu: Outcome
) -> None:
    assert_same(command(*toy, "keep=none", f"calib.states={place}"), on_cpu)


def test_a_stopped_run_resumes(
    command: Command, toy: list[str], on_cpu: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    solve, solved = BlockSolver.__call__, list[int]()

    def twice(self: BlockSolver, view: Any) -> Any:
        if len(solved) == 2:
            raise KeyboardInterrupt
        solved.append(view.index)
        return solve(self, view)

    words = [*toy, "keep=none", "eval.baselines=[]"]
    with monkeypatch.context() as patch:
        patch.setattr(BlockSolver, "__call__", twice)
        assert command(*words).code == 130
    again = command(*words)
    assert "resuming at block" in again.out
    assert again.result["masks_sha256"] == on_cpu.result["masks_sha256"]


def test_a_kept_model_is_measured_again_without_calibration(
    command: Command, toy: list[str], tmp_path: Path
) -> None:
    first = command(*toy, run="first")
    again = command(*toy, "save=true", run="again")
    assert again.result["reused_stages"]
    assert again.result["metrics"]["perplexity"] == first.result["metrics"]["perplexity"]


def test_lora(command: Command, toy: list[str]) -> None:
    words = [*toy, "finetune=lora", "finetune.steps=2", "finetune.seqlen=24", "eval.baselines=[]"]
    words += ["finetune.batch_size=4", "keep=none", f"finetune.dataset={toy[2].split('=')[1]}"]
    ours, theirs = command(*words, run="a"), command(*words, "device=cpu", run="b")
    assert (ours.code, theirs.code) == (0, 0), ours.err + theirs.err
    assert ours.result["finetune"]["steps"] == 2
    assert ours.result["memory"][PEAK] > 0
    close = pytest.approx(theirs.result["finetune"]["last_loss"], rel=1e-3)
    assert ours.result["finetune"]["last_loss"] == close


def test_a_batch_that_does_not_fit_is_halved(
    command: Command, toy: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something else has taken the device's memory, but for what half of the batch needs."""
    save_file({"input_ids": tokens(32, 60)}, tmp_path / "long.safetensors")
    words = [*toy, f"calib.dataset={tmp_path}/long.safetensors", "calib.samples=32"]
    words += ["calib.seqlen=60", "eval.seqlen=24", "keep=none", "eval.baselines=[]"]
    whole, half = (
        command(*words, f"calib.batch_size={size}", run=f"of-{size}").result for size in (32, 16)
    )
    assert half["memory"][PEAK] < whole["memory"][PEAK]
    monkeypatch.setattr(placement, "RESERVE", 0)
    left = (half["memory"][PEAK] + whole["memory"][PEAK]) // 2
    free = torch.accelerator.get_memory_info()[0]
    others = torch.empty(free - left, dtype=torch.uint8, device="standin")
    done = command(*words, "calib.batch_size=32")
    del others
    said = " ".join(done.out.split())
    assert "out of memory on the device: continuing with 16 sequences at a time" in said
    assert done.result["masks_sha256"] == whole["masks_sha256"]


def test_the_api_evaluates_there_and_brings_the_model_back() -> None:
    model, ids = build("llama"), tokens(6, 24, 2)
    found = dsnot_exp.evaluate(model, perplexity={"ids": ids}, device="standin", progress=False)
    here = dsnot_exp.evaluate(model, perplexity={"ids": ids}, device="cpu", progress=False)
    assert found.perplexity["ids"] == pytest.approx(here.perplexity["ids"], rel=1e-6)
    assert {p.device.type for p in model.parameters()} == {"cpu"}


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("standin:7", "device=standin:7: this machine has .* STANDIN devices that torch"),
        ("cuda", "device=cuda: this machine has 0 CUDA devices that torch"),
    ],
)
def test_a_device_that_is_not_there(
    device: str, message: str, command: Command, toy: list[str]
) -> None:
    done = command(*toy, f"device={device}")
    assert done.code == 2
    assert message.split(" .* ")[0] in done.err


def swept(command: Command, toy: list[str]) -> tuple[str, str]:
    """What a sweep says of its model and of its time."""
    words = ["-m", *toy[:-2], "prune=wanda", "refine=none", "sparsity=0.5", "keep=none"]
    done = command(*words, run="")
    assert done.code == 0, done.err
    lines = [line.strip() for line in done.out.splitlines()]
    (model,) = (line for line in lines if line.startswith("model  "))
    (time,) = (line for line in lines if line.startswith("time  "))
    return model, time


@pytest.mark.parametrize("whole", [True, False])
def test_a_sweep_measures_a_block_there_before_its_first_run(
    whole: bool, command: Command, toy: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "SHORT_S", 0)
    if not whole:
        monkeypatch.setattr(placement, "RESERVE", torch.accelerator.get_memory_info()[1])
    before = torch.accelerator.get_memory_info()[0]
    model, time = swept(command, toy)
    how = "whole on the device" if whole else "block by block on the device"
    total = torch.accelerator.get_memory_info()[1]
    assert f", {how}, about " in model
    assert model.endswith(f" of {size(total)}")
    assert " on stand-in device, an estimate (one block of " in time
    assert torch.accelerator.get_memory_info()[0] == before


def test_a_block_that_does_not_fit_leaves_a_sweep_without_an_estimate(
    command: Command, toy: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "free_memory", lambda device: 1000)
    _, time = swept(command, toy)
    assert "no estimate: a block and the embeddings take" in time
