"""Run random command lines on toy models and report what goes wrong.

    python -m tests.fuzz --runs 500 --seed 0

Prints the command of each failure; `--only N` repeats command N of a seed."""

from __future__ import annotations

import argparse
import random
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.judge import complaints
from tests.fuzz.words import Words, draw
from tests.fuzz.world import FAMILIES, Outcome, World

DATASETS = ("calib.safetensors", "text.txt", "text.jsonl")


def commands(seed: int, runs: int, families: list[str]) -> Iterator[tuple[Words, str]]:
    """The command lines of a seed, and the calibration text of each."""
    rng = random.Random(seed)
    for _ in range(runs):
        yield draw(rng, families), rng.choice(DATASETS)


def fuzz(
    place: Path, seed: int, runs: int, families: list[str], only: int | None = None
) -> Iterator[tuple[int, Outcome, list[str]]]:
    """Each command's number, its outcome, and what is wrong with it."""
    world = World.make(place, families)
    for number, (words, dataset) in enumerate(commands(seed, runs, families)):
        if only in (None, number):
            done = world.run(words.family, words.options, dataset, place / f"run{number}")
            yield number, done, list(complaints(words, done, world.shapes[words.family]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this command alone, and print its output")
    given = parser.parse_args()
    codes: Counter[int] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        made = fuzz(Path(folder), given.seed, given.runs, FAMILIES, given.only)
        for number, done, found in made:
            codes[done.code] += 1
            wrong += bool(found)
            if found or given.only is not None:
                print(f"{number}: python -m dsnot_exp {shlex.join(done.words)}")
            for line in found:
                print(f"    {line}", flush=True)
            if given.only is not None:
                print(done.text("stdout"), done.text("stderr"), sep="\n")
    told = ", ".join(f"{count} with exit code {code}" for code, count in sorted(codes.items()))
    print(f"{sum(codes.values())} commands: {told}; {wrong} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
