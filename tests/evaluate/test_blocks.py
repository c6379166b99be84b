"""eval.blocks: perplexity on the first sequences of a text, never taken for one on all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from dsnot_exp.evaluate.perplexity import perplexity
from tests.support.command import Command, toy_arguments

WORDS = ["prune=none", "eval.baselines=[dense]"]


def test_only_the_first_sequences_of_each_text_are_evaluated(
    command: Command, tmp_path: Path
) -> None:
    words = [*toy_arguments(tmp_path), *WORDS]
    whole, part = (command(*words, *more, run=f"{len(more)}") for more in ([], ["eval.blocks=3"]))
    assert part.code == 0, part.err
    name = f"{tmp_path}/test.safetensors"
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "toy", dtype=torch.float32)
    ids = load_file(name)["input_ids"]
    for outcome, count in ((whole, 8), (part, 3)):
        found = outcome.result["metrics"]["perplexity"][name]["dense"]
        assert found == pytest.approx(perplexity(model.eval(), ids[:count], 8), rel=1e-6)
    record = part.result["data"]["evaluation"][name]
    assert (record["sequences"], record["of"]) == (3, 8)
    assert part.result["reused"] == []  # the whole text's measurement is another one
    assert part.result["config_hash"] != whole.result["config_hash"]
    (warning,) = part.result["warnings"]
    assert warning.startswith("eval.blocks=3: ")
    assert whole.result["warnings"] == []


def test_a_text_without_more_sequences_is_evaluated_whole(command: Command, tmp_path: Path) -> None:
    words = [*toy_arguments(tmp_path), *WORDS]
    whole, same = (command(*words, *more, run=f"{len(more)}") for more in ([], ["eval.blocks=9"]))
    assert same.result["metrics"]["perplexity"] == whole.result["metrics"]["perplexity"]
    assert same.result["reused"] == [f"{tmp_path}/test.safetensors"]
    assert same.result["warnings"] == []


@pytest.mark.parametrize("value", ["0", "-1", "true", "1.5", "some"])
def test_another_number_is_refused(value: str, command: Command) -> None:
    done = command(f"eval.blocks={value}")
    assert done.code == 2
    assert f"eval.blocks={value}: expected" in done.err
    assert done.err.count("\n") == 1
