"""Train the bundled model: ``python -m dsnot_exp.tinyworld.train --out DIR``.

The schedule counts steps, not time, and each step's text and order follow from the step's number. A
killed run therefore resumes from its checkpoint as if it had not stopped. Muon
(``torch.optim.Muon``, torch 2.9 or newer) trains the hidden matrices, AdamW the embeddings, the
norms and the head. Training takes about an hour on 2 CPU cores with bfloat16 instructions.
"""

import argparse
import math
import os
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from dsnot_exp.tinyworld import tokenizer
from dsnot_exp.tinyworld.initial_weights import prepare
from dsnot_exp.tinyworld.lexicon import WORDS
from dsnot_exp.tinyworld.network import Recipe, config
from dsnot_exp.tinyworld.training_rows import answers, packed_rows, short_rows

NAMING = ("women", "men", "places", "things")  # the word classes that stories are about
STORIES = 1000  # story numbers reserved per step, so that a step's number determines its text


def rate(recipe: Recipe, step: int) -> float:
    """The factor on all learning rates: linear warm-up, then cosine decay to zero."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    return 0.5 + 0.5 * math.cos(math.pi * (step - recipe.warmup) / (recipe.steps - recipe.warmup))


class Trainer:
    """The model, the optimizers and the step number: the content of a checkpoint."""

    def __init__(self, recipe: Recipe, compiled: bool = False) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.step = recipe, 0
        self.words = tokenizer.build()
        self.model = LlamaForCausalLM(config(recipe))
        # On a CPU with short rows, eager attention is faster than the backward of fused attention.
        self.model.set_attn_implementation("eager")
        naming = [word for name in NAMING for word in WORDS[name]]
        prepare(self.model, torch.tensor(self.words.convert_tokens_to_ids(naming)))
        self.forward = torch.compile(self.model, dynamic=False, disable=not compiled)
        named = list(self.model.named_parameters())
        matrices = [p for name, p in named if "proj" in name]
        inputs = [p for name, p in named if "embed" in name]
        others = [p for name, p in named if "norm" in name or "head" in name]
        self.optimizers: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.Muon(matrices, weight_decay=recipe.decay), recipe.muon_rate),
            (torch.optim.AdamW(inputs, betas=(0.9, 0.98), weight_decay=0.0), recipe.input_rate),
            (torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0), recipe.adam_rate),
        ]

    def advance(self) -> float:
        """Run one step and return its unweighted mean loss in nats per token."""
        recipe = self.recipe
        packed = self.step >= recipe.steps - recipe.packed
        rows = packed_rows if packed else short_rows
        labels = rows(recipe, self.words, self.step * STORIES)
        ids = labels.clamp(min=0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.forward(input_ids=ids, use_cache=False).logits[:, :-1]
        targets = labels[:, 1:]
        losses = cross_entropy(logits.transpose(1, 2).float(), targets, reduction="none")
        weights = (targets >= 0) * (
            1.0 if packed else 1.0 + answers(ids, self.words) * recipe.emphasis
        )
        (losses * weights).sum().div(weights.sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, peak in self.optimizers:
            optimizer.param_groups[0]["lr"] = peak * rate(recipe, self.step)
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return float(losses.detach().sum() / (targets >= 0).sum())

    def save(self, path: Path) -> None:
        """Write beside `path` and rename, so that a killed run leaves the old file intact."""
        state = {
            "recipe": asdict(self.recipe),
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
        }
        temporary = path.with_suffix(".new")
        torch.save(state, temporary)
        os.replace(temporary, path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise ValueError(f"{path} was written by a run with another recipe")
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        for (optimizer, _), saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    def export(self, folder: Path) -> None:
        """Write the Hugging Face folder, with weights in bfloat16."""
        LlamaForCausalLM.save_pretrained(self.model.bfloat16(), folder)
        self.words.save_pretrained(folder)


def train(recipe: Recipe, folder: Path, checkpoint: Path, compiled: bool = False) -> None:
    """Train, or resume training, to the last step, and write the model into `folder`."""
    trainer = Trainer(recipe, compiled)
    if checkpoint.exists():
        trainer.load(checkpoint)
    began, first, losses = time.monotonic(), trainer.step, []
    while trainer.step < recipe.steps:
        losses.append(trainer.advance())
        if trainer.step % 20 == 0:
            speed = (time.monotonic() - began) / (trainer.step - first)
            print(
                f"step {trainer.step}/{recipe.steps} loss {sum(losses) / len(losses):.4f} "
                f"{speed:.2f} s/step {speed * (recipe.steps - trainer.step) / 60:.0f} min left",
                flush=True,
            )
            losses = []
        if trainer.step % 100 == 0:
            trainer.save(checkpoint)
    trainer.export(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--checkpoint", type=Path, help="default: OUT/checkpoint.pt")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument(
        "--plain", action="store_true", help="do not use torch.compile, which needs a C++ compiler"
    )
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    checkpoint = given.checkpoint or given.out / "checkpoint.pt"
    train(Recipe(steps=given.steps), given.out, checkpoint, not given.plain)


if __name__ == "__main__":
    main()
