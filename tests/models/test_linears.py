"""Which matrices of a block are pruned, and in which orientation they are seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import (
    is_experts,
    is_routed,
    linears,
    matches,
    refuse_unprunable,
)
from dsnot_exp.models.routers import ROUTERS
from dsnot_exp.utils.errors import RequestError
from tests.support.families import FAMILIES, MOE, build


class Experts(nn.Module):
    """Two experts as slices of 3-D parameters, with a bias each."""

    def __init__(self, is_transposed: bool = False) -> None:
        super().__init__()
        self.is_transposed = is_transposed
        self.up = nn.Parameter(torch.randn(2, 6, 4))
        self.up_bias = nn.Parameter(torch.randn(2, 6))


def block(**children: nn.Module) -> nn.Module:
    found = nn.Module()
    for name, child in children.items():
        found.add_module(name, child)
    return found


def linear() -> nn.Linear:
    return nn.Linear(4, 6, bias=False)


def test_there_are_three_names_of_routers() -> None:
    assert set(ROUTERS) == {"gate", "router", "shared_expert_gate"}


@pytest.mark.parametrize("router", ["gate", "router", "shared_expert_gate"])
@pytest.mark.parametrize("experts", [nn.ModuleList([linear()]), Experts()], ids=["list", "slices"])
def test_a_router_beside_experts_stays_dense(router: str, experts: nn.Module) -> None:
    mixture = block(experts=experts, shared=linear(), **{router: linear()})
    for prefix, module in {"": mixture, "mlp.": block(mlp=mixture)}.items():
        found = linears(module)
        assert f"{prefix}{router}" not in found
        assert f"{prefix}shared" in found
        assert any(name.startswith(f"{prefix}experts.") for name in found)
        refuse_unprunable(module, "block", [])


@pytest.mark.parametrize("name", ["gate", "router", "shared_expert_gate"])
def test_a_layer_of_a_routers_name_beside_no_experts_is_pruned(name: str) -> None:
    found = linears(block(mlp=block(**{name: linear()}), moe=block(experts=Experts())))
    assert f"mlp.{name}" in found


def test_a_router_with_parameters_of_its_own_is_not_refused() -> None:
    """They are in no linear layer, as those beside a router, which are refused."""
    router = nn.Module()
    router.weight = nn.Parameter(torch.randn(2, 4))
    module = block(mlp=block(experts=Experts(), router=router, routers=linear()))
    assert set(linears(module)) == {"mlp.experts.0.up", "mlp.experts.1.up", "mlp.routers"}
    refuse_unprunable(module, "block", [])
    module.mlp.router_weight = nn.Parameter(torch.randn(2, 4))
    with pytest.raises(RequestError, match=r"^block\.mlp\.router_weight \(2, 4\)"):
        refuse_unprunable(module, "block", [])


def test_the_routers_of_real_models_stay_dense() -> None:
    qwen2 = FAMILIES["qwen3_moe"] | {"shared_expert_intermediate_size": 16}
    config = AutoConfig.for_model("qwen2_moe", **(qwen2 | MOE))
    models = {"qwen2_moe": AutoModelForCausalLM.from_config(config)}
    models |= {family: build(family) for family in ("mixtral", "gpt_oss")}
    for family, model in models.items():
        name, blocks = find_blocks(model)
        found = linears(blocks[0])
        left = [p for p, _ in blocks[0].named_parameters() if "gate." in p or "router." in p]
        assert left, family
        assert not {parameter.rpartition(".")[0] for parameter in left} & set(found), family
        assert any(".experts." in linear for linear in found), family
        refuse_unprunable(blocks[0], name, [])


@pytest.mark.parametrize("kind", ["linear", "conv1d", "expert", "transposed expert"])
def test_a_matrix_is_seen_as_out_by_in_and_written_in_place(kind: str) -> None:
    x, new = torch.randn(3, 4), torch.randn(6, 4)
    module: Any
    if kind == "linear":
        module, name = nn.Linear(4, 6), "layer"
        output = lambda: module(x) - module.bias  # noqa: E731
    elif kind == "conv1d":
        module, name = Conv1D(6, 4), "layer"
        output = lambda: module(x) - module.bias  # noqa: E731
    else:
        module, name = Experts(kind == "transposed expert"), "layer.1.up"
        if module.is_transposed:
            module.up = nn.Parameter(torch.randn(2, 4, 6))
        output = lambda: x @ (module.up[1] if module.is_transposed else module.up[1].T)  # noqa: E731
    with torch.no_grad():
        found = linears(block(layer=module))[name]
        assert found.weight.shape == (6, 4)
        torch.testing.assert_close(output(), x @ found.weight.T)
        found.write(new.double())
        assert torch.equal(found.weight, new)
        torch.testing.assert_close(output(), x @ new.T)


def test_gpt2_is_pruned_along_its_inputs() -> None:
    found = linears(find_blocks(build("gpt2"))[1][0])
    shapes = {name: tuple(linear.weight.shape) for name, linear in found.items()}
    assert shapes == {
        "attn.c_attn": (96, 32),
        "attn.c_proj": (32, 32),
        "mlp.c_fc": (128, 32),
        "mlp.c_proj": (32, 128),
    }


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("mlp.up_proj", "mlp", True),
        ("mlp.up_proj", "mlp.up_proj", True),
        ("mlp.up_proj", "*.up_proj", True),
        ("mlp.up_proj", "up_proj", False),
        ("mlp2.up_proj", "mlp", False),
        ("mlp", "mlp.up_proj", False),
        ("mlp.experts.3.up", "mlp.experts.*.up", True),
        ("mlp.up_proj", "fc1|mlp", True),
        ("fc1", "fc1|mlp", True),
        ("fc1", "mlp|fc1", True),
        ("fc2", "mlp|fc1", False),
        ("self_attn.q_proj", "self_attn.[qk]_proj", True),
        ("self_attn.v_proj", "self_attn.[qk]_proj", False),
    ],
)
def test_a_glob_matches_a_layer_or_everything_inside_it(
    name: str, pattern: str, expected: bool
) -> None:
    assert matches(name, pattern) == expected


def test_dense_globs_leave_layers_out() -> None:
    llama = find_blocks(build("llama"))[1][0]
    attention = {f"self_attn.{letter}_proj" for letter in "qkvo"}
    mlp = {f"mlp.{name}_proj" for name in ("gate", "up", "down")}
    assert set(linears(llama)) == attention | mlp
    assert set(linears(llama, ["mlp"])) == attention
    assert set(linears(llama, ["self_attn|mlp.up_proj"])) == mlp - {"mlp.up_proj"}
    assert set(linears(llama, ["mlp", "self_attn.q_proj"])) == attention - {"self_attn.q_proj"}


def test_only_layers_of_experts_are_routed() -> None:
    assert is_routed("mlp.experts.7.down_proj")
    assert is_routed("experts.0")
    assert not is_routed("mlp.shared_experts.up_proj")
    assert not is_routed("mlp.shared_expert.up_proj")
    assert not is_routed("self_attn.q_proj")


def test_experts_are_3d_parameters_with_an_orientation() -> None:
    assert is_experts(Experts())
    unknown = Experts()
    del unknown.is_transposed
    assert not is_experts(unknown)
    around = block(experts=Experts())
    around.is_transposed = False
    assert not is_experts(around)
    flat = linear()
    flat.is_transposed = False
    assert not is_experts(flat)


def test_a_matrix_in_no_linear_layer_is_refused_unless_it_is_left_dense() -> None:
    module = block(mlp=block(conv=nn.Conv1d(4, 6, 3), norm=nn.LayerNorm(4)), fc=linear())
    with pytest.raises(
        RequestError, match=r"^b\.0\.mlp\.conv\.weight \(6, 4, 3\).*model\.dense=\["
    ):
        refuse_unprunable(module, "b.0", [])
    with pytest.raises(RequestError, match=r"mlp\.conv\.weight"):
        refuse_unprunable(module, "b.0", ["fc"])
    refuse_unprunable(module, "b.0", ["fc|mlp.conv"])
    unknown = Experts()
    del unknown.is_transposed
    with pytest.raises(RequestError, match=r"experts\.up \(2, 6, 4\)"):
        refuse_unprunable(block(mlp=block(experts=unknown)), "b.0", [])
