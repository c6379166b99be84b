"""Exports that a GPU has multiplied with: what is refused elsewhere, and what is checked there. The
GPU's kernels are slow ones on the CPU (tests/support/semi_structured.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.sparse import SparseSemiStructuredTensor
from transformers import AutoModelForCausalLM

import dsnot_exp
from dsnot_exp.export import load
from dsnot_exp.utils import accelerator
from dsnot_exp.utils.errors import RequestError
from tests.export.conftest import Export
from tests.support.families import tokens
from tests.support.semi_structured import pretend

Saved = Callable[..., Path]
FORM = ("--format", "semi-structured")
SMALL_HEADS = {"family": "llama-gqa", "num_key_value_heads": 1, "head_dim": 8}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(accelerator, "present", lambda: torch.device("cpu"))


def test_it_is_refused_before_the_model_is_read(
    export: Export, saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = saved("pattern=2:4")
    for file in (run / "model").glob("*.safetensors"):
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 2])  # whoever reads it fails otherwise
    line = export.refused(run, *FORM)
    assert (
        "--format semi-structured: torch multiplies 2:4 weights on a GPU of NVIDIA or AMD" in line
    )
    assert "this machine has none; choose --format 2:4, which a GPU elsewhere can convert" in line
    monkeypatch.setattr(accelerator, "present", lambda: torch.device("cuda"))
    monkeypatch.setattr(accelerator, "name", lambda device: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert "Tesla T4 has compute capability 7.5" in export.refused(run, *FORM)
    assert not (run / "export").exists()


def test_other_dtypes_and_patterns_are_refused(export: Export, saved: Saved, gpu: None) -> None:
    run = saved("pattern=2:4", "save=false")  # its dtype is the base model's
    line = export.refused(run, *FORM)
    assert "are float32, and torch takes float16 and bfloat16; repeat the run with model." in line
    line = export.refused(saved("model.dtype=bfloat16"), *FORM)
    assert "--format semi-structured: " in line
    assert "has the pattern unstructured; run it with pattern=2:4" in line


def test_an_export_is_checked_and_loads_converted(
    export: Export, saved: Saved, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = saved("pattern=2:4", "model.dtype=bfloat16", **SMALL_HEADS)
    folder = run / "export/semi-structured"
    said = export.fine(run, *FORM)
    assert "converted 15 layers, each with the product of the dense one, on cpu, torch" in said
    assert "dense     model.layers.*.self_attn.k_proj (3 layers): 8 x 32, and torch takes" in said
    how = f'load_packed({json.dumps(str(folder))}, device="cuda", semi_structured=True)'
    assert how in said
    assert 'device="cuda", semi_structured=True' in (folder / "README.md").read_text()
    with pytest.warns(UserWarning, match=r"stays dense: .*_proj \(3 layers\): 8 x 32, and") as told:
        loaded = dsnot_exp.load_packed(folder, semi_structured=True)
    assert len(told) == 2  # k_proj and v_proj
    kinds = [isinstance(p, SparseSemiStructuredTensor) for p in loaded.parameters()]
    assert sum(kinds) == 15
    plain = AutoModelForCausalLM.from_pretrained(run / "model", dtype="auto")
    with torch.no_grad():
        found, expected = (model(tokens(2, 9)).logits for model in (loaded, plain))
    assert float((found - expected).norm() / expected.norm()) < 0.02
    assert "already exported" in export.fine(run, *FORM)
    monkeypatch.setattr(accelerator, "name", lambda device: "another")
    assert "on another, torch" in export.fine(run, *FORM)


def test_a_wrong_product_leaves_no_export(
    export: Export, saved: Saved, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = saved("pattern=2:4", "model.dtype=bfloat16")
    multiply = torch._cslt_sparse_mm

    def wrong(packed: Any, *given: Any, **named: Any) -> Any:
        return multiply(packed.roll(1, 1), *given, **named)

    monkeypatch.setattr(torch, "_cslt_sparse_mm", wrong)
    assert "its 2:4 product on cpu is off the dense one" in export.refused(run, *FORM, code=1)
    assert [*(run / "export").iterdir()] == []


def test_loading_is_refused_before_a_weight_is_read(
    export: Export, saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = saved("pattern=2:4")
    for form in ("2:4", "bitmask"):
        export.fine(run, "--format", form)
    monkeypatch.setattr(load, "read_packed", lambda *given: pytest.fail("read"))

    def refused(form: str) -> str:
        with pytest.raises(RequestError, match=r"^semi_structured=True: ") as caught:
            dsnot_exp.load_packed(run / f"export/{form}", semi_structured=True)
        assert "leave it out to load the model dense" in str(caught.value)
        return str(caught.value)

    assert "on a GPU of NVIDIA or AMD alone, and this machine has none" in refused("2of4")
    pretend(monkeypatch)
    assert "no layer can be converted; model.layers.0" in (line := refused("2of4"))
    assert "float32, and torch takes float16 and bfloat16" in line
    assert "is packed as bitmask; export the run with --format 2:4" in refused("bitmask")
