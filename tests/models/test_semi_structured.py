"""2:4 weights in torch's form: the conversion, what is refused, and the model that multiplies with
them. The kernels themselves need a GPU; here slow ones stand for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.sparse import SparseSemiStructuredTensor
from torch.sparse._semi_structured_conversions import (
    sparse_semi_structured_from_dense_cutlass,
    sparse_semi_structured_to_dense_cutlass,
)
from transformers.pytorch_utils import Conv1D

from dsnot_exp.models import semi_structured as module
from dsnot_exp.models.semi_structured import kernels, semi_structured, unsupported, why_dense
from dsnot_exp.utils import accelerator
from dsnot_exp.utils.errors import RequestError, RunError
from tests.models.test_two_of_four import two_of_four
from tests.support.families import build, tokens
from tests.support.semi_structured import pretend

GPU = torch.device("cuda")
WIDE = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
FORMS = [torch.float16, torch.bfloat16]


def pruned(family: str, dtype: torch.dtype = torch.bfloat16, **changes: Any) -> nn.Module:
    """A toy whose block matrices are 2:4."""
    model = build(family, **changes).to(dtype)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and "embed" not in name and name != "lm_head.weight":
            conv = isinstance(model.get_submodule(name.rpartition(".")[0]), Conv1D)
            groups = parameter.data.movedim(-2 if conv else -1, -1).unflatten(-1, (-1, 4))
            groups[..., (0, 2)] = 0
    return model


@pytest.mark.parametrize("dtype", FORMS)
def test_torchs_compressed_form_is_exact(dtype: torch.dtype) -> None:
    weight = two_of_four(64, 128, dtype)
    weight[0, :8] = 0  # groups with fewer values
    packed, meta = sparse_semi_structured_from_dense_cutlass(weight)
    assert (packed.shape, meta.shape, meta.dtype) == ((64, 64), (64, 8), torch.int16)
    assert torch.equal(sparse_semi_structured_to_dense_cutlass(packed, meta), weight)


@pytest.mark.parametrize(
    "weight", [two_of_four(32, 64, torch.float32), torch.ones(32, 64, dtype=torch.bfloat16)]
)
def test_torchs_compressed_form_drops_what_is_too_much(weight: Tensor) -> None:
    """Why float32, which it takes as 1:2, is refused, and why every product is checked."""
    packed, meta = sparse_semi_structured_from_dense_cutlass(weight)
    assert not torch.equal(sparse_semi_structured_to_dense_cutlass(packed, meta), weight)


@pytest.mark.parametrize(
    ("device", "capability", "built", "arch", "why"),
    [
        ("cpu", None, False, None, "a GPU of NVIDIA or AMD alone, and this machine has none"),
        ("cpu", (9, 0), True, None, "and device=cpu is none"),
        ("xpu", (9, 0), True, None, "and device=xpu is none"),
        ("cuda", (7, 5), True, None, "Card has compute capability 7.5, and sparse tensor cores"),
        ("cuda", (9, 0), False, None, "Card (compute capability 9.0) needs cuSPARSELt, and torch"),
        ("cuda", (8, 6), False, None, ""),
        ("cuda", (8, 0), True, None, ""),
        ("cuda", (10, 0), True, None, ""),
        ("cuda", (9, 0), False, "gfx90a:sramecc+", "Card is gfx90a, and torch multiplies"),
        ("cuda", (9, 4), False, "gfx942:sramecc+:xnack-", ""),
    ],
)
def test_which_devices_are_refused_and_why(
    device: str,
    capability: tuple[int, int] | None,
    built: bool,
    arch: str | None,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Properties:
        gcnArchName = arch

    monkeypatch.setattr(accelerator, "present", lambda: GPU if capability else None)
    monkeypatch.setattr(accelerator, "name", lambda device: "Card")
    monkeypatch.setattr(torch.backends.cusparselt, "is_available", lambda: built)
    monkeypatch.setattr(torch.version, "hip", "7.1" if arch else None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    found = unsupported(torch.device(device))
    assert (why in found) if why else (found == "")
    assert "\n" not in found
    whole = "CUSPARSELT" if built or arch else "CUTLASS"
    assert kernels().__name__ == f"SparseSemiStructuredTensor{whole}"


@pytest.mark.parametrize(
    ("dtype", "shape", "axis", "why"),
    [
        (torch.bfloat16, (48, 32), -1, ""),
        (torch.float16, (16, 4096), -1, ""),
        (torch.float32, (64, 64), -1, "float32, and torch takes float16 and bfloat16"),
        (torch.bfloat16, (8, 64), -1, "8 x 64, and torch takes multiples of 16 x 16"),
        (torch.bfloat16, (64, 40), -1, "64 x 40, and torch takes multiples of 16 x 16"),
        (torch.bfloat16, (4, 64, 64), -1, "3 dimensions"),
        (torch.bfloat16, (64, 64), -2, "groups of four along axis -2"),
    ],
)
def test_which_weights_stay_dense(
    dtype: torch.dtype,
    shape: tuple[int, ...],
    axis: int,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch)
    found = why_dense(dtype, shape, axis)
    assert (why in found) if why else (found == "")
    if not why:  # torch's own check agrees
        kernels().from_dense(torch.zeros(shape, dtype=dtype))
    elif axis == -1:
        with pytest.raises(RuntimeError, match=r"not (a )?support"):
            kernels().from_dense(torch.zeros(shape, dtype=dtype))


@pytest.mark.parametrize("cusparselt", [True, False])
@pytest.mark.parametrize("family", ["llama", "opt", "qwen2"])  # without biases, with, with some
def test_a_converted_model_computes_the_same(
    family: str, cusparselt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cusparselt)
    sizes = WIDE | ({"ffn_dim": 128, "word_embed_proj_dim": 64} if family == "opt" else {})
    model = pruned(family, **sizes | {"num_key_value_heads": 4})
    ids = tokens(3, 7)
    with torch.no_grad():
        dense = model(ids).logits
    found = semi_structured(model)
    assert (len(found.converted), found.dense) == ((12, {}) if family == "opt" else (14, {}))
    names = {name.removesuffix(".weight") for name, p in model.named_parameters()
             if isinstance(p, SparseSemiStructuredTensor)}  # fmt: skip
    assert names == set(found.converted)
    with torch.no_grad():
        logits = model(ids).logits
    assert float((logits - dense).norm() / dense.norm()) < 0.02
    assert model.generate(ids, max_new_tokens=3, do_sample=False).shape == (3, 10)


def test_torchs_own_switch_chooses_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(SparseSemiStructuredTensor, "_FORCE_CUTLASS", True)
    model = pruned("llama", **WIDE)
    semi_structured(model)
    assert type(model.model.layers[0].mlp.up_proj.weight).__name__.endswith("CUTLASS")


def test_what_torch_does_not_take_is_named_and_stays_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    model = pruned("llama-gqa", **WIDE | {"num_key_value_heads": 1, "head_dim": 8})
    kept = model.model.layers[0].self_attn.k_proj.weight
    found = semi_structured(model)
    assert list(found.left()) == [
        f"model.layers.*.self_attn.{name}_proj (2 layers): 8 x 64, and torch takes multiples of "
        "16 x 16"
        for name in "kv"
    ]
    assert len(found.converted) == 10
    assert model.model.layers[0].self_attn.k_proj.weight is kept


@pytest.mark.parametrize(
    ("family", "kind"), [("gpt2", "Conv1D"), ("qwen3_moe", "Experts"), ("falcon", "FalconLinear")]
)
def test_layers_of_other_kinds_stay_dense(
    family: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    model = pruned(family)
    model.add_module("own", nn.Linear(32, 32, dtype=torch.bfloat16))
    model.own.weight.data = two_of_four(32, 32, torch.bfloat16)
    found = semi_structured(model)
    assert "own" in found.converted
    assert any(kind in why for why in found.dense.values())


def test_a_shared_weight_is_converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    model = nn.Sequential(*(nn.Linear(32, 32, dtype=torch.bfloat16) for _ in range(4)))
    model[0].weight.data = two_of_four(32, 32, torch.bfloat16)
    model[2].weight = model[0].weight
    model[3].weight.data.zero_()  # nothing to multiply
    assert semi_structured(model).converted == ["0", "2"]
    assert model[0].weight is model[2].weight
    assert not isinstance(model[1].weight, SparseSemiStructuredTensor)  # not 2:4


def test_negative_zeros_do_not_reach_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    seen: list[Tensor] = []
    compress = torch._cslt_compress
    monkeypatch.setattr(torch, "_cslt_compress", lambda w: seen.append(w) or compress(w))
    model = nn.Sequential(nn.Linear(32, 32, dtype=torch.bfloat16))
    weight = two_of_four(32, 32, torch.bfloat16)
    model[0].weight.data = torch.where(weight == 0, -0.0, weight)
    semi_structured(model)
    assert int((seen[0].view(torch.int16) != 0).sum()) == 32 * 32 // 2


def test_a_wrong_product_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    model = pruned("llama")
    multiply = torch._cslt_sparse_mm

    def wrong(packed: Tensor, *given: Any, **named: Any) -> Tensor:
        return multiply(packed.roll(1, 1), *given, **named)

    monkeypatch.setattr(torch, "_cslt_sparse_mm", wrong)
    with pytest.raises(RunError, match=r"q_proj: its 2:4 product on cpu is off the dense one"):
        semi_structured(model)


def test_an_error_of_the_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)

    def fail(weight: Tensor) -> Tensor:
        raise RuntimeError("CUDA error: architecture mismatch when calling `cusparseLtInit`\nmore")

    monkeypatch.setattr(torch, "_cslt_compress", fail)
    with pytest.raises(RunError, match=r"cannot multiply it as 2:4 on cpu \(CUDA error: arch.*`\)"):
        semi_structured(pruned("llama"))


def test_no_model_is_converted_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "present", lambda: None)
    with pytest.raises(RequestError, match="this machine has none; keep the model dense"):
        semi_structured(pruned("llama"))


def test_one_layer_that_cannot_be_converted_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    with pytest.raises(RequestError, match=r"no layer .* converted; model.*: float32, and"):
        semi_structured(pruned("llama", torch.float32))


def test_a_model_that_is_not_2_4_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "unsupported", lambda device: "")
    with pytest.raises(RequestError, match="no layer of the model is 2:4; prune it with pattern="):
        semi_structured(build("llama"))
