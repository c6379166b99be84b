"""Experts: every one is pruned, with the statistics of the tokens that were sent to it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import is_experts, linears
from tests.support.command import Command, masked_weights, toy_arguments
from tests.support.families import build, tokens
from tests.support.walking import GRAM, MOMENTS, Watch, walked


def routed(model: nn.Module, batches: list[Tensor]) -> dict[str, list[Tensor]]:
    """Layer -> the tokens it sees per batch, worked out from what each router decides."""
    seen: dict[str, list[Tensor]] = {}

    def hook(name: str):
        def keep(module: nn.Module, args: tuple, kwargs: dict) -> None:
            states, chosen = [*args, *kwargs.values()][:2]
            states = states.reshape(-1, states.shape[-1])
            for expert in range(len(module.down_proj)):
                own = states[(chosen.reshape(len(states), -1) == expert).any(1)]
                up, down = module.gate_up_proj[expert], f"{name}.{expert}.down_proj"
                seen.setdefault(f"{name}.{expert}.gate_up_proj", []).append(own)
                inner = own @ up if module.is_transposed else linear(own, up)
                if module.has_bias:
                    inner = inner + module.gate_up_proj_bias[expert]
                seen.setdefault(down, []).append(module._apply_gate(inner))

        return keep

    for name, module in model.named_modules():
        if is_experts(module):
            module.register_forward_pre_hook(hook(name), with_kwargs=True)
    for ids in batches:
        model(input_ids=ids, use_cache=False)
    return seen


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "gpt_oss", "olmoe"])
def test_statistics_of_every_expert_are_those_of_its_own_tokens(family: str) -> None:
    batches = [tokens(2, 20, seed=1), tokens(3, 20, seed=2)]
    seen = routed(build(family), batches)
    model, watch = build(family), Watch(MOMENTS | {GRAM})
    before = model.config._experts_implementation
    walked(model, batches, watch)
    assert model.config._experts_implementation == before
    found = {f"{b}.{n}": s for b, block in watch.seen.items() for n, s in block.items()}
    assert {n for n in found if ".experts." in n} <= set(seen)
    checked = 0
    for layer, parts in seen.items():
        own = torch.cat(parts)
        if len(own) == 0:
            assert layer not in found
            continue
        statistics = found[layer]
        assert (statistics.tokens, statistics.sequences) == (len(own), 5)
        torch.testing.assert_close(statistics.mean, own.mean(0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(statistics.var, own.var(0, correction=0), rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(statistics.gram, own.T @ own / len(own), rtol=1e-3, atol=1e-4)
        checked += 1
    assert checked > 20


def test_an_expert_is_seen_as_out_by_in_and_written_in_place() -> None:
    block = find_blocks(build("gpt_oss"))[1][0]
    experts = {n: m for n, m in linears(block).items() if ".experts." in n}
    assert len(experts) == 8
    up = experts["mlp.experts.2.gate_up_proj"]
    assert up.weight.shape == (96, 32)  # stored as (in, out)
    up.write(torch.ones_like(up.weight))
    assert (block.mlp.experts.gate_up_proj[2] == 1).all()
    assert not (block.mlp.experts.gate_up_proj[1] == 1).any()
    assert not any("router" in name for name in linears(block))


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "gpt_oss"])
@pytest.mark.parametrize("prune", ["magnitude", "wanda", "sparsegpt"])
def test_experts_are_pruned_refined_and_saved(
    command: Command, tmp_path: Path, family: str, prune: str
) -> None:
    words = toy_arguments(tmp_path, family=family)
    done = command(*words, f"prune={prune}", "save=true", "calib.min_tokens=8")
    assert done.code == 0, done.err
    sparsity = done.result["sparsity"]
    assert sparsity["achieved"] == pytest.approx(0.5, abs=1e-3)
    assert sparsity["of_all_block_weights"] > 0.48
    routers = [n for n in masked_weights(done.folder) if "router" in n or n.endswith("gate.weight")]
    for name, weight in masked_weights(done.folder).items():
        if "experts" in name and weight.dim() == 3:
            zeros = (weight == 0).float().mean((1, 2))
            assert ((zeros - 0.5).abs() < 0.02).all(), name
        elif name in routers:
            assert not (weight == 0).any()
    refined = [r for r in done.result["metrics"]["reconstruction"] if ".experts." in r["layer"]]
    assert any(r["swaps"] for r in refined)


def test_an_expert_that_saw_too_little_is_pruned_by_magnitude_and_reported(
    command: Command, tmp_path: Path
) -> None:
    words = [*toy_arguments(tmp_path, family="qwen3_moe"), "calib.min_tokens=100"]
    done = command(*words)
    assert done.code == 0, done.err
    notes = done.result["notes"]
    assert notes
    assert all(".experts." in layer for layer in notes)
    layer, note = next(iter(notes.items()))
    assert f"{layer}: {note}" in done.out
    assert "pruned by magnitude, not refined" in note
    rows = {r["layer"]: r for r in done.result["metrics"]["reconstruction"]}
    assert rows[layer]["expected_before"] is None
    assert done.result["sparsity"]["layers"][layer] == 0.5


def test_experts_may_be_left_dense_on_purpose(command: Command, tmp_path: Path) -> None:
    done = command(*toy_arguments(tmp_path, family="mixtral"), "model.dense=[mlp.experts]")
    assert done.code == 0, done.err
    assert done.result["sparsity"]["achieved"] == 0.5
    assert done.result["sparsity"]["of_all_block_weights"] < 0.3
    done = command(*toy_arguments(tmp_path, family="mixtral"), "model.dense=[mlp.expert]")
    assert done.code == 2
    assert "model.dense=mlp.expert: matches no layer" in done.err
    assert "mlp.experts.*.down_proj" in done.err


def test_experts_of_an_unknown_layout_are_refused(command: Command, tmp_path: Path) -> None:
    done = command(*toy_arguments(tmp_path, family="llama4_text"))
    assert done.code == 2
    assert "feed_forward.experts.gate_up_proj" in done.err
    assert "model.dense" in done.err
