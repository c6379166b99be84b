"""How many tokens a text is expected to have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dsnot_exp import tinyworld
from dsnot_exp.data.load import evaluation_tokens
from dsnot_exp.data.text_sizes import text_tokens
from dsnot_exp.models.loading import load_tokenizer
from dsnot_exp.models.source import Source


@pytest.mark.parametrize(("vocabulary", "blocks"), [(32_000, 166), (50_272, 140)])
def test_the_blocks_of_wikitext2_in_the_papers(vocabulary: int, blocks: int) -> None:
    """LLaMA's 166 and OPT's 140."""
    assert text_tokens("wikitext2", 2048, vocabulary) == blocks * 2048


def test_c4_has_256_blocks() -> None:
    assert text_tokens("c4", 2048, 32_000) == 256 * 2048


def test_tinyworld_is_known_exactly() -> None:
    tokenizer = load_tokenizer(Source(str(tinyworld.MODEL)))
    ids = evaluation_tokens("tinyworld", 250, tokenizer).ids
    assert text_tokens("tinyworld", 250, 100) == ids.numel()


def test_files(tmp_path: Path) -> None:
    save_file({"input_ids": torch.zeros(3, 40, dtype=torch.int64)}, tmp_path / "a.safetensors")
    assert text_tokens(str(tmp_path / "a.safetensors"), 16, 100) == 112
    (tmp_path / "a.txt").write_text("word " * 800)
    assert text_tokens(str(tmp_path / "a.txt"), 16, 100) == 992  # 4000 bytes
    assert text_tokens(str(tmp_path / "absent.txt"), 16, 100) == 0
