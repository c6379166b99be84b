"""A GPU that multiplies 2:4 weights, made of the CPU: torch's own classes, with slow kernels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.sparse import SparseSemiStructuredTensor
from torch.sparse._semi_structured_conversions import sparse_semi_structured_to_dense_cutlass

from dsnot_exp.export import load
from dsnot_exp.export import semi_structured as export
from dsnot_exp.models import semi_structured


def pretend(monkeypatch: pytest.MonkeyPatch, cusparselt: bool = True) -> None:
    """Everything but the kernels is torch's: classes, checks of shapes, dispatch, padding."""
    for place in (semi_structured, load, export):
        monkeypatch.setattr(place, "unsupported", lambda device: "")
    monkeypatch.setattr(torch.backends.cusparselt, "is_available", lambda: cusparselt)
    # Else the first tensor of these classes imports torch._dynamo, which takes seconds.
    SparseSemiStructuredTensor._load_dispatch_table()
    monkeypatch.setattr(SparseSemiStructuredTensor, "_PROTOTYPE_WARNING_SHOWN", True)
    validate = SparseSemiStructuredTensor._validate_device_dim_dtype_shape.__func__

    def validated(kind: Any, tensor: Tensor) -> None:
        validate(kind, tensor.as_subclass(OnGPU))

    name = "_validate_device_dim_dtype_shape"
    monkeypatch.setattr(SparseSemiStructuredTensor, name, classmethod(validated))
    for name in ("_cslt_compress", "_cslt_sparse_mm"):
        monkeypatch.setattr(torch, name, globals()[name])
    for name in ("_sparse_semi_structured_mm", "_sparse_semi_structured_addmm"):
        monkeypatch.setattr(torch, name, globals()[name])


class OnGPU(Tensor):
    is_cuda = True


def _cslt_compress(dense: Tensor) -> Tensor:
    """Two of every four entries; the places, which the library keeps behind them, stay dense."""
    groups = dense.view(-1, 4)
    places = (groups != 0).to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :2]
    kept = torch.zeros_like(groups).scatter_(1, places, groups.gather(1, places))
    return kept.view(dense.shape)


def _cslt_sparse_mm(
    packed: Tensor, dense: Tensor, bias: Tensor | None, transpose_result: bool, alg_id: int
) -> Tensor:
    product = packed @ dense  # (out, in) @ (in, n)
    product = product if bias is None else product + bias[:, None]
    return product.t() if transpose_result else product


def _sparse_semi_structured_mm(packed: Tensor, meta: Tensor, dense: Tensor) -> Tensor:
    return sparse_semi_structured_to_dense_cutlass(packed, meta) @ dense


def _sparse_semi_structured_addmm(
    bias: Tensor, packed: Tensor, meta: Tensor, dense: Tensor
) -> Tensor:
    return _sparse_semi_structured_mm(packed, meta, dense) + bias[:, None]
