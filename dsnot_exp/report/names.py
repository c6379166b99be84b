"""The names of models, texts and options as printed in tables and plots: their own words."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

TEXTS = {"wikitext2": "WikiText-2", "c4": "C4", "ptb": "PTB"}
# The last folder of a model's path, where it says nothing about the model.
NAMELESS = re.compile(r"(hf|model|models|checkpoint|checkpoint-\d+|main|final|output|[0-9a-f]{40})")
ON_THE_HUB = re.compile(r"[\w.-]+/([\w.-]+)")
IN_THE_CACHE = re.compile(r"models--[^/]+?--([^/]+)")


def of_path(path: str) -> str:
    """The name of the model at a path: its last folder that says something, or what the cache of
    the hub calls it."""
    cached = IN_THE_CACHE.search(path)
    if cached:
        return cached[1]
    folders = [part for part in path.split("/") if part not in ("", ".", "..", "~")]
    named = [part for part in folders if not NAMELESS.fullmatch(part)]
    return (named or folders or [path])[-1]


def of_model(options: Mapping[str, Any]) -> str:
    """`SmolLM2-135M`: as its authors write it, for a model of the hub; else of its folder."""
    name, path = options.get("model.name"), options.get("model.path")
    if path and name in ("local", "hub", None):
        return of_path(str(path))
    hub = ON_THE_HUB.fullmatch(str(path)) if path else None
    return hub[1] if hub else str(name)


def of_texts(texts: Sequence[str]) -> dict[str, str]:
    """A name for each text: a data set's own, or the end of a path, as much as tells it apart."""
    found = {}
    for text in texts:
        parts = text.rstrip("/").split("/")
        others = [other.rstrip("/").split("/") for other in texts if other != text]
        length = 1
        while length < len(parts) and any(o[-length:] == parts[-length:] for o in others):
            length += 1
        found[text] = TEXTS.get(text, "/".join(parts[-length:]))
    return found


def of_option(key: str, value: str, values: Sequence[str] = (), keys: Collection[str] = ()) -> str:
    """`5 cycles`, `16 samples`, `update threshold 0.2`. The method's name is added where two
    methods have an option of this name.

    values: all values of the option; keys: all options that are told
    """
    tail = key.rpartition(".")[2]
    if tail in ("max_cycles", "samples") and value.isdigit():
        return f"{value} {tail.removeprefix('max_')}"
    words = tail.replace("_", " ")
    if sum(other.rpartition(".")[2] == tail for other in keys) > 1:
        words = f"{key.rpartition('.')[0]} {words}"
    if re.fullmatch(r"[0-9a-f]{64}", value):  # the hash of a content
        return f"{words} {value[:8]}"
    return f"{words} {of_texts(values or [value])[value]}"
