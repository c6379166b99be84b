"""Operators give the CPU's bits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

Function = Callable[[Tensor], Any]


def _positive(x: Tensor) -> Tensor:
    return x @ x.T + torch.eye(len(x), dtype=x.dtype, device=x.device)


def _in_place(x: Tensor) -> Tensor:
    x = x.clone()
    x.add_(1).mul_(x)
    x[:, ::2].clamp_(min=0)
    torch._foreach_add_([x, x.t()], 1.0)
    return x


def _out(x: Tensor) -> Tensor:
    made = x.new_empty(0)
    torch.add(x, x, out=made)
    sums = x.new_full((2, 9), 5)
    torch.cumsum(x[:2], 1, out=sums[:, :8])
    return torch.cat([made.flatten(), sums.flatten()])


def _set(x: Tensor) -> Tensor:
    x = x.clone()
    x[x > 0.5] = 0.0
    x[:, 2:4] = 3.0
    x.index_put_((torch.tensor([0, 1], device=x.device),), x[2].clone(), accumulate=True)
    x.scatter_(1, torch.zeros(8, 1, dtype=torch.long, device=x.device), -1.0)
    x.index_add_(0, torch.tensor([3], device=x.device), x[:1].clone())
    return x


FUNCTIONS: dict[str, Function] = {
    "elementwise": lambda x: (x.abs().sqrt() / 3 + x.exp()).where(x > 0, x.sigmoid()),
    "reductions": lambda x: [x.sum(0), x.mean(1), x.std(), x.max(1), x.argmin(), x.logsumexp(0)],
    "products": lambda x: [
        x @ x,
        torch.addmm(x, x, x),
        torch.einsum("ij,kj->ik", x, x),
        x.mv(x[0]),
    ],
    "in place": _in_place,
    "out=": _out,
    "indexing": lambda x: [
        x[x > 0],
        x.nonzero(),
        x[[1, 0]],
        x.gather(1, x.argsort(1)),
        x.take(x.argmax()),
    ],
    "assignment": _set,
    "order": lambda x: [
        x.sort(1, descending=True),
        x.topk(3),
        x.kthvalue(2),
        x.median(),
        x.msort(),
    ],
    "counts": lambda x: [
        x.round().unique(return_counts=True, return_inverse=True),
        (x > 0).long().sum(1).bincount(minlength=9),
        x.histc(4),
        torch.bucketize(x, x[0].sort().values),
        torch.searchsorted(x[0].sort().values, x[1]),
    ],
    "shapes": lambda x: [
        x.unfold(1, 3, 2),
        x.flip(0),
        x.roll(1),
        x.tril(),
        x.split(3),
        x.repeat(2, 1),
        x.t().contiguous(),
        x.view(torch.int32),
        x.as_strided((2, 2), (1, 3)),
        x.expand(2, 8, 8),
        x.diagonal(),
        x.kron(x),
    ],
    "numbers": lambda x: [
        x.sum().item(),
        x.equal(x),
        bool((x > 0).all()),
        x.tolist(),
        x.allclose(x),
    ],
    "cholesky": lambda x: [
        torch.linalg.cholesky_ex(_positive(x)),
        torch.cholesky_inverse(torch.linalg.cholesky(_positive(x))),
    ],
    "solving": lambda x: [
        torch.linalg.solve_triangular(x.triu(), x, upper=True),
        torch.linalg.inv(_positive(x)),
        torch.linalg.solve(_positive(x), x),
        torch.linalg.qr(x),
    ],
    "spectra": lambda x: [
        torch.linalg.eigh(_positive(x)),
        torch.linalg.svdvals(x),
        torch.linalg.svd(x),
    ],
}


def flat(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in flat(part)]
    return [value]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_an_operator_gives_the_cpus_bits(function: Function, dtype: torch.dtype) -> None:
    x = torch.randn(8, 8, dtype=dtype, generator=torch.Generator().manual_seed(0))
    for here, there in zip(flat(function(x)), flat(function(x.to("standin"))), strict=True):
        if isinstance(here, Tensor):
            assert there.device.type == "standin"
            assert there.stride() == here.stride()
            assert torch.equal(there.cpu(), here)
        else:
            assert there == here


@pytest.mark.parametrize("name", ["LayerNorm", "RMSNorm", "SiLU", "GELU", "Softmax", "Linear"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_layer_has_the_cpus_bits_and_gradients(name: str, dtype: torch.dtype) -> None:
    sizes = {"LayerNorm": (8,), "RMSNorm": (8,), "Softmax": (-1,), "Linear": (8, 8)}
    layer = getattr(torch.nn, name)(*sizes.get(name, ())).to(dtype)
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = []
    for device in ("cpu", "standin"):
        twin = copy.deepcopy(layer).to(device)
        leaf = x.detach().to(device, copy=True).requires_grad_()
        out = twin(leaf)
        out.square().sum().backward()
        found.append([out, leaf.grad, *(weight.grad for weight in twin.parameters())])
    for here, there in zip(*found, strict=True):
        assert torch.equal(here, there.cpu())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_has_the_cpus_bits_and_gradients(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    here = LlamaForCausalLM(config).to(dtype)
    there = copy.deepcopy(here).to("standin")
    ids = torch.randint(1, 64, (3, 20))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    inputs = {"input_ids": ids, "attention_mask": mask, "labels": ids}
    ours = here(**inputs)
    theirs = there(**{name: value.to("standin") for name, value in inputs.items()})
    assert torch.equal(ours.logits, theirs.logits.cpu())
    ours.loss.backward()
    theirs.loss.backward()
    for weight, twin in zip(here.parameters(), there.parameters(), strict=True):
        assert torch.equal(weight.grad, twin.grad.cpu())
    for model in (here, there):
        torch.optim.AdamW(model.parameters(), lr=0.1).step()
    assert torch.equal(here.lm_head.weight, there.lm_head.weight.cpu())
    del inputs["labels"]
    words = here.generate(**inputs, max_new_tokens=5, do_sample=False)
    twins = there.generate(
        **{name: value.to("standin") for name, value in inputs.items()},
        max_new_tokens=5,
        do_sample=False,
    )
    assert torch.equal(words, twins.cpu())


def test_autocast_lowers_products() -> None:
    x = torch.randn(4, 4, device="standin", requires_grad=True)
    with torch.autocast("standin", dtype=torch.bfloat16):
        product, total = x @ x, x + x
    assert (product.dtype, total.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(product, x.bfloat16() @ x.bfloat16())
    product.sum().backward()
    assert x.grad.dtype == torch.float32


def test_calls_are_counted_by_operator() -> None:
    device = torch.get_device_module("standin")
    x = torch.randn(4, 4, device="standin")
    device.reset_counters()
    x @ x
    x @ x
    assert {name: n for name, n in device.counters().items() if name.startswith("aten::")} == {
        "aten::mm.out": 2
    }
