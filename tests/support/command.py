"""The command line in this process: what a user types, the exit code, and what was printed.

Drawing errors.png takes a third of a toy run, so it is left blank unless a test wants it.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import save_file

from dsnot_exp.__main__ import main
from tests.support.families import build, tokens


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str
    folder: Path

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.folder / "result.json").read_text())


@dataclass
class Command:
    """`command("prune=wanda")` is `python -m dsnot_exp prune=wanda` in an empty folder. `draws`:
    whether the figure is drawn."""

    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]
    folder: Path
    draws: bool = False

    def __call__(self, *words: str, run: str = "run") -> Outcome:
        place = self.folder / run
        given = [] if run == "" else [f"hydra.run.dir={place}"]
        self.monkeypatch.setattr(sys, "argv", ["dsnot_exp", *given, *words])
        self.monkeypatch.chdir(self.folder)
        GlobalHydra.instance().clear()
        self.capfd.readouterr()
        with self.monkeypatch.context() as patch:
            if not self.draws:
                patch.setattr(Figure, "savefig", _save_blank)
            with pytest.raises(SystemExit) as exit_:
                main()
        for handler in list(logging.getLogger().handlers):
            if isinstance(handler, logging.FileHandler):  # the next run opens its own
                handler.close()
                logging.getLogger().removeHandler(handler)
        captured = self.capfd.readouterr()
        return Outcome(int(exit_.value.code or 0), captured.out, captured.err, place)


def _save_blank(figure: Figure, path: Path, **_: Any) -> None:
    Image.new("1", (1, 1)).save(path)


def toy_folder(folder: Path, family: str = "llama", **changes: Any) -> Path:
    """A model folder as save_pretrained writes it, and tokens for it beside it."""
    build(family, **changes).save_pretrained(folder)
    return folder


def toy_arguments(folder: Path, **changes: Any) -> list[str]:
    """A run on a toy model that takes a second: tokenised files for calibration and text."""
    model = toy_folder(folder / "toy", **changes)
    for name, seed in (("calib", 1), ("test", 2)):
        save_file({"input_ids": tokens(8, 24, seed)}, folder / f"{name}.safetensors")
    return [
        "model=local",
        f"model.path={model}",
        f"calib.dataset={folder}/calib.safetensors",
        "calib.samples=8",
        "calib.seqlen=24",
        f"eval.perplexity=[{folder}/test.safetensors]",
        "eval.baselines=[]",
        "model.max_cycles=50",
        "wandb=disabled",
    ]


def masked_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights that a run with save=true left."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    return {n: p.detach() for n, p in model.named_parameters()}
