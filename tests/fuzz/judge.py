"""What must hold for every command line, whatever it asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tests.fuzz.words import Words
from tests.fuzz.world import Outcome

PLAIN = 1e-9
FEW = 6  # lines that a sweep may print on stderr


def complaints(words: Words, done: Outcome, shapes: dict[str, tuple[int, int]]) -> Iterator[str]:
    """What is wrong, one line each; nothing if all is well."""
    errors = done.text("stderr")
    for stream in ("stdout", "stderr"):
        if "Traceback (most recent call last)" in done.text(stream):
            yield f"a traceback on {stream}"
    if done.code not in (0, 1, 2):
        yield f"exit code {done.code}"
    if words.refused is False and done.code != 0:
        yield f"valid, but exit code {done.code}: {errors.strip()}"
    if words.refused and done.code != 2:
        yield f"invalid, but exit code {done.code}"
    if done.code == 2:
        yield from _refused(done, errors)
    if done.code == 1 and not words.sweep:
        yield f"failed after it was accepted: {errors.strip()}"
    try:
        results = done.results()
    except ValueError as error:
        yield str(error)
        return
    if done.code == 0:
        if len(results) != (4 if words.sweep else 1):
            yield f"{len(results)} results"
        for result in results:
            yield from _finished(result, shapes)


def _refused(done: Outcome, errors: str) -> Iterator[str]:
    if done.calibrated:
        yield "refused after the calibration had begun"
    lines = errors.strip().splitlines()
    if len(lines) != 1:
        yield f"refused in {len(lines)} lines: {errors.strip()}"
    left = [path for path in (done.folder / "out").rglob("*") if path.is_file()]
    if left:
        yield f"refused, but left {left[0].relative_to(done.folder)}"


def _finished(result: dict[str, Any], shapes: dict[str, tuple[int, int]]) -> Iterator[str]:
    config, layers = result["config"], result["sparsity"]["layers"]
    if result["status"] != "finished":
        yield f"status {result['status']}"
    for name, stages in result["metrics"]["perplexity"].items():
        if "refined" not in stages:
            yield f"no perplexity of {name}"
    if config["prune"]["name"] == "none":
        return
    if not config["model"]["dense"] and set(layers) != set(shapes):
        yield f"layers {sorted(set(layers) ^ set(shapes))[:3]} are missing or new"
    targets = result["sparsity"]["targets"]
    if config["allocate"]["name"] != "uniform":
        yield from _total(config, layers, shapes)
    for layer, share in layers.items():
        low, high = budget(config | {"sparsity": targets[layer]}, shapes[layer])
        if not low - PLAIN <= share <= high + PLAIN:
            yield f"{layer} {shapes[layer]}: {share} of it is zero, expected {low} to {high}"


def _total(
    config: dict[str, Any], layers: dict[str, float], shapes: dict[str, tuple[int, int]]
) -> Iterator[str]:
    """An allocation keeps the model's zeros, up to a weight per row, and the cap of a layer."""
    zeros = sum(share * math.prod(shapes[layer]) for layer, share in layers.items())
    wanted = config["sparsity"] * sum(math.prod(shapes[layer]) for layer in layers)
    if abs(zeros - wanted) > sum(shapes[layer][0] for layer in layers):
        yield f"{zeros} zeros in all, expected {wanted}"
    if max(layers.values()) > config["allocate"]["most"] + PLAIN:
        yield f"a layer is sparser than {config['allocate']['most']}"


def budget(config: dict[str, Any], shape: tuple[int, int]) -> tuple[float, float]:
    """The least and the most that may be zero in a layer, by the options alone."""
    rows, width = shape
    pattern, sparsity = config["pattern"], config["sparsity"]
    if pattern != "unstructured":
        kept, group = map(int, pattern.split(":"))
        return 1 - kept / group, 1 - kept / group
    by_row, whole = int(width * sparsity) / width, int(rows * width * sparsity) / (rows * width)
    if config["prune"]["name"] == "wanda":
        return by_row, by_row
    return min(by_row, whole), max(by_row, whole)
