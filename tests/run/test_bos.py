"""A Gemma model is calibrated and evaluated on sequences that start with BOS, and says so."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from dsnot_exp.evaluate.zero_shot import ProgressLM
from tests.support.command import Command, toy_folder

BOS, SEQLEN = 1, 8
WORDS = [f"w{number}" for number in range(60)]


def tokenizer() -> PreTrainedTokenizerFast:
    """A token per word; by itself it does not start with BOS."""
    vocabulary = {"<unk>": 0, "<bos>": BOS, "<eos>": 2} | {w: n + 3 for n, w in enumerate(WORDS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", bos_token="<bos>", eos_token="<eos>"
    )


def run(command: Command, family: str, *words: str, run: str = "run") -> Any:
    model, text = command.folder / family, command.folder / "A.TXT"
    if not model.exists():
        toy_folder(model, family)
        tokenizer().save_pretrained(model)
        text.write_text(" ".join(WORDS))
        rows = [{"text": "", "body": " ".join(WORDS[:start])} for start in range(20, 60)]
        (command.folder / "b.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return command(
        "model=local", f"model.path={model}", f"calib.dataset={command.folder / 'b.jsonl'}",
        "calib.field=body", "calib.samples=4", f"calib.seqlen={SEQLEN}", "eval.baselines=[]",
        f"eval.perplexity=[{text}]", "prune=wanda", "refine=none", "sparsity=0", "wandb=disabled",
        *words, run=run,
    )  # fmt: skip


def perplexity(folder: Path, rows: torch.Tensor) -> float:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return math.exp(model(input_ids=rows, labels=rows).loss)


def test_blocks_of_gemma_start_with_bos_and_those_of_llama_are_the_papers(command: Command) -> None:
    text = torch.arange(3, 63)
    pieces = text[: 8 * 7].reshape(8, 7)
    with_bos = torch.cat([torch.full((8, 1), BOS), pieces], 1)
    plain = text[:56].reshape(7, 8)
    for family, starts in (("gemma2", True), ("llama", False)):
        done = run(command, family, run=family)
        assert done.code == 0, done.err
        found = done.result
        (evaluated,) = found["data"]["evaluation"].values()
        assert evaluated["bos"] is found["data"]["calibration"]["bos"] is starts
        assert evaluated["sequences"] == (8 if starts else 7)
        expected = perplexity(command.folder / family, with_bos if starts else plain)
        (measured,) = found["metrics"]["perplexity"].values()
        assert math.isclose(measured["refined"], expected, rel_tol=1e-4)
    assert found["warnings"] == []


def test_too_many_samples_are_told_at_once_and_in_the_result(command: Command) -> None:
    done = run(command, "llama", "calib.samples=300", "eval.perplexity=[]")
    (warning,) = done.result["warnings"]
    assert warning.startswith("calib.samples=300: only ")
    assert done.out.count("calib.samples=300: only") == 2  # before the calibration, and at the end
    assert done.result["data"]["calibration"]["distinct"] <= 52
    done = run(command, "llama", "calib.field=url", run="refused")
    assert done.code == 2
    assert 'line 1 has no field "url"; choose calib.field= from "text", "body"' in done.err


def test_requests_of_tasks_start_with_bos(command: Command) -> None:
    model = AutoModelForCausalLM.from_pretrained(toy_folder(command.folder / "toy", "gemma2"))

    def encoded(bos: bool | None, words: PreTrainedTokenizerFast) -> list[int]:
        lm = ProgressLM(model, words, 1, lambda n: None, lambda n: None, bos)
        return list(lm.tok_encode("w0 w1"))

    plain, starting = tokenizer(), tokenizer()
    starting.add_bos_token = True
    starting.update_post_processor()
    for words in (plain, starting):
        assert encoded(True, words) == [BOS, 3, 4]
        assert encoded(False, words) == [3, 4]
    assert encoded(None, plain) == plain("w0 w1")["input_ids"] == [3, 4]
    assert encoded(None, starting) == [BOS, 3, 4]
