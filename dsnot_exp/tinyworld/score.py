"""Score the dense model: ``python -m dsnot_exp.tinyworld.score [--model DIR]``."""

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from dsnot_exp.tinyworld import MODEL
from dsnot_exp.tinyworld.language import corpus
from dsnot_exp.tinyworld.tasks import ITEMS, TASKS, items


@torch.inference_mode()
def perplexity(model: PreTrainedModel, split: str, blocks: int = 200, length: int = 256) -> float:
    """exp of the mean loss in nats per token over `blocks` blocks of `length` tokens."""
    words = AutoTokenizer.from_pretrained(MODEL)
    ids = words(corpus(split, blocks * length), add_special_tokens=False, return_tensors="pt")
    whole = ids.input_ids[0, : blocks * length].view(blocks, length)
    losses = [model(input_ids=part, labels=part).loss for part in whole.split(20)]
    return float(torch.stack(losses).mean().exp())


@torch.inference_mode()
def accuracy(model: PreTrainedModel, task: str, count: int = ITEMS) -> float:
    """Share of the first `count` items whose right choice has the highest probability."""
    words = AutoTokenizer.from_pretrained(MODEL)
    right = 0
    for made in items(task, count):
        start = len(words(made.context).input_ids)
        ids = words([f"{made.context} {choice}" for choice in made.choices], return_tensors="pt")
        logits = model(input_ids=ids.input_ids).logits[:, start - 1 : -1].log_softmax(-1)
        scores = logits.gather(2, ids.input_ids[:, start:, None]).sum((1, 2))
        right += int(scores.argmax()) == made.answer
    return right / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--items", type=int, default=ITEMS)
    given = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32).eval()
    for split in ("validation", "test"):
        print(f"{split} perplexity {perplexity(model, split):.3f}", flush=True)
    for task in TASKS:
        print(f"{task} {accuracy(model, task, given.items):.3f}", flush=True)


if __name__ == "__main__":
    main()
