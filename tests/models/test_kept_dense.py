"""What of a block stays dense: routers, adapters, shared weights, and what is no weight matrix."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dsnot_exp.models.linears import (
    all_linears,
    kept_dense,
    linears,
    owned,
    refuse_unprunable,
    refuse_unprunable_blocks,
)
from dsnot_exp.utils.errors import RequestError
from tests.models.test_linears import Experts, block, linear


@pytest.mark.parametrize("router", ["gate", "router"])
def test_everything_below_a_router_stays_dense(router: str) -> None:
    inner = block(wg=linear(), layer=nn.Sequential(linear(), linear()))
    module = block(mlp=block(experts=nn.ModuleList([linear()]), **{router: inner}))
    assert set(linears(module)) == {"mlp.experts.0"}
    assert set(kept_dense(nn.ModuleList([module])).values()) == {"router"}


def test_a_router_is_known_by_its_class_or_by_layers_of_its_own() -> None:
    class OwnTopKRouter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.choose = linear()

    module = block(route=OwnTopKRouter(), router=block(layer=linear()), gate=block(low=linear()))
    assert set(linears(module)) == {"gate.low"}  # a gate beside no experts is an ordinary layer


def test_adapters_are_never_pruned_and_named() -> None:
    adapter = nn.ModuleDict({"default": linear()})
    q_proj = block(base_layer=linear(), lora_A=adapter, lora_B=nn.ModuleDict({"d": linear()}))
    q_proj.lora_embedding_A = nn.ParameterDict({"default": nn.Parameter(torch.randn(2, 4))})
    module = block(attn=block(q_proj=q_proj))
    assert set(linears(module)) == {"attn.q_proj.base_layer"}
    refuse_unprunable(module, "block", [])
    assert set(kept_dense(nn.ModuleList([module])).values()) == {"LoRA adapter"}


def test_a_shared_weight_belongs_to_the_first_layer_and_block() -> None:
    first, second, third = (block(a=linear(), b=linear()) for _ in range(3))
    first.b.weight = first.a.weight
    third.b.weight = second.b.weight
    own = owned(nn.ModuleList([first, second, third]))
    assert [set(found) for found in own] == [{"a"}, {"a", "b"}, {"a"}]
    found = all_linears(("m", nn.ModuleList([first, second, third])))
    assert set(found) == {"m.0.a", "m.1.a", "m.1.b", "m.2.a"}
    experts = Experts()
    other = block(e=Experts())
    other.e.up = experts.up
    assert [len(f) for f in owned(nn.ModuleList([block(e=experts), other]))] == [2, 0]


def test_what_is_no_weight_matrix_stays_dense_by_itself_and_is_named() -> None:
    mixer = block(conv1d=nn.Conv1d(4, 4, 3, groups=4), embed=nn.Embedding(3, 4), in_proj=linear())
    for name, shape in {
        "A_log": (4, 2), "D": (2, 4), "time_mix_k": (1, 1, 4), "dt_proj_bias": (2, 4),
        "coefficients": (1, 4),
    }.items():  # fmt: skip
        setattr(mixer, name, nn.Parameter(torch.ones(shape)))
    module = block(layers=nn.ModuleList([block(mixer=mixer)]))
    refuse_unprunable(module, "block", [])
    assert kept_dense(nn.ModuleList([module, module])) == {
        "*.layers.*.mixer.conv1d.weight": "depthwise convolution",
        "*.layers.*.mixer.embed.weight": "embedding",
        "*.layers.*.mixer.A_log": "state of a recurrence",
        "*.layers.*.mixer.D": "state of a recurrence",
        "*.layers.*.mixer.time_mix_k": "state of a recurrence",
        "*.layers.*.mixer.dt_proj_bias": "bias",
        "*.layers.*.mixer.coefficients": "vector",
    }
    assert len(kept_dense(nn.ModuleList([module]), ["layers.*.mixer.D"])) == 6
    mixer.x_proj_weight = nn.Parameter(torch.ones(2, 4, 4))
    with pytest.raises(RequestError, match=r"mixer\.x_proj_weight \(2, 4, 4\) is outside"):
        refuse_unprunable(module, "block", [])


def test_all_matrices_that_remain_are_refused_in_one_message_with_one_remedy() -> None:
    def made(**names: tuple[int, ...]) -> nn.Module:
        experts = nn.Module()
        for name, shape in names.items():
            setattr(experts, name, nn.Parameter(torch.ones(shape)))
        return block(parts=nn.ModuleList([experts]))

    members = {"0": made(w1=(2, 3)), "1": made(w1=(2, 3), w2=(3, 2))}
    remedy = """set 'model.dense=["mlp","parts.*.w1","parts.*.w2","q"]'"""
    with pytest.raises(RequestError) as raised:
        refuse_unprunable_blocks("m", members, ["mlp"], ["q"])
    said = str(raised.value)
    assert said.startswith("m.0.parts.0.w1 (2, 3) and others are outside any linear layer")
    assert said.endswith(remedy)
    refuse_unprunable_blocks("m", members, ["parts.*.w1", "parts.*.w2"])
