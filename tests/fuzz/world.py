"""Toy models of several families, their texts, and commands run in forks of this process."""

from __future__ import annotations

import json
import os
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from dsnot_exp.models.blocks import find_blocks
from dsnot_exp.models.linears import all_linears
from tests.support.families import VOCABULARY, build, tokens

FAMILIES = [
    "llama-tied", "gpt2", "opt", "mixtral", "gemma3_text", "falcon", "qwen3_moe", "bamba", "lfm2",
]  # fmt: skip
CALIBRATED = "calibrated"  # exists once a run has entered the blocks


@dataclass(frozen=True)
class World:
    """shapes: (out, in) of each prunable layer, by family"""

    place: Path
    shapes: dict[str, dict[str, tuple[int, int]]]

    @classmethod
    def make(cls, place: Path, families: list[str]) -> World:
        words = {f"w{i}": i for i in range(3, VOCABULARY)} | {"<pad>": 0, "<s>": 1, "</s>": 2}
        core = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
        core.pre_tokenizer = pre_tokenizers.Whitespace()
        marks = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
        shapes = {}
        disable_progress_bar()
        for family in families:
            model = build(family)
            model.save_pretrained(place / family)
            PreTrainedTokenizerFast(tokenizer_object=core, **marks).save_pretrained(place / family)
            layers = all_linears(find_blocks(model))
            shapes[family] = {name: tuple(each.weight.shape) for name, each in layers.items()}
        save_file({"input_ids": tokens(9, 24, 1)}, place / "calib.safetensors")
        save_file({"input_ids": tokens(4, 24, 2)}, place / "test.safetensors")
        text = " ".join(f"w{int(i)}" for i in tokens(1, 3000, 3)[0])
        (place / "text.txt").write_text(text)
        lines = [json.dumps({"text": text[i : i + 400]}) for i in range(0, 6000, 400)]
        (place / "text.jsonl").write_text("\n".join(lines))
        return cls(place, shapes)

    def run(self, family: str, options: list[str], dataset: str, folder: Path) -> Outcome:
        """`python -m dsnot_exp` on a toy model, in a fork."""
        folder.mkdir()
        given = [
            "model=local",
            f"model.path={self.place / family}",
            f"calib.dataset={self.place / dataset}",
            "calib.samples=4",
            "calib.seqlen=16",
            f"eval.perplexity=[{self.place / 'test.safetensors'}]",
            "wandb.mode=disabled",
        ]
        typed = {word.partition("=")[0] for word in options}
        words = [word for word in given if word.partition("=")[0] not in typed]
        words = [*options, *words, f"out={folder / 'out'}"]
        if (child := os.fork()) == 0:
            _command(words, folder)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return Outcome(words, code, folder)


@dataclass(frozen=True)
class Outcome:
    words: list[str]
    code: int
    folder: Path

    def text(self, stream: str) -> str:
        return (self.folder / stream).read_text()

    @property
    def calibrated(self) -> bool:
        return (self.folder / CALIBRATED).exists()

    def results(self) -> list[dict[str, Any]]:
        """Every result.json; raises ValueError for one that holds NaN or infinity."""

        def refuse(constant: str) -> Any:
            raise ValueError(f"result.json holds {constant}")

        found = sorted((self.folder / "out").rglob("result.json"))
        return [json.loads(file.read_text(), parse_constant=refuse) for file in found]


def _command(words: list[str], folder: Path) -> None:
    """The command line in this process, which it ends."""
    from dsnot_exp.walk.sequences import Sequences

    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_CREAT | os.O_WRONLY), stream)
        setattr(sys, name, open(stream, "w", closefd=False))  # noqa: SIM115
    enter = Sequences.enter

    def noted(self: Sequences) -> None:
        (folder / CALIBRATED).touch()
        enter(self)

    Sequences.enter = noted  # type: ignore[method-assign]
    torch.set_num_threads(1)
    os.chdir(folder)
    os.environ["DSNOT_EXP_CACHE"] = str(folder / "cache")
    sys.argv[1:] = words
    code: object = 70
    try:
        runpy.run_module("dsnot_exp", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 70)
