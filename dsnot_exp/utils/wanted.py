"""What an option of a dataclass accepts, in words, and the nearest names to a misspelt one."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, get_type_hints

from omegaconf.errors import OmegaConfBaseException

WORDS = {
    int: "a whole number in digits, such as 8",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
}


def refusal(error: OmegaConfBaseException, prefix: str, kind: type, given: Any) -> str:
    """One line about a value that the dataclass `kind` does not accept.

    prefix: of the keys in the line; given: the values that were given, as a tree of mappings
    """
    key = (error.full_key or str(error.key or "")).partition("[")[0]
    name = f"{prefix}.{key}" if prefix else key
    annotation, value = accepted(kind, key), look_up(given, key)
    if annotation is None:
        return f"{name}: no such option{did_you_mean(name, names(kind, prefix))}"
    if value == "???":
        return f"{name} is missing: choose a value"
    return f"{name}={shown(value)}: expected {expected(annotation)}"


def expected(annotation: Any) -> str:
    """`int | None` -> "a whole number in digits, such as 8, or null"."""
    if getattr(annotation, "__origin__", None) is list:
        return "a list, such as [a,b]"
    kinds = [kind for kind in getattr(annotation, "__args__", (annotation,)) if kind in WORDS]
    if {int, float} <= {*kinds}:
        kinds.remove(int)
    return ", or ".join(WORDS[kind] for kind in kinds) or "another kind of value"


def accepted(kind: type, key: str) -> Any:
    """The annotation of `key`, such as `calib.samples`, in a dataclass; None: no such key."""
    first, _, rest = key.partition(".")
    annotation = get_type_hints(kind).get(first) if is_dataclass(kind) else None
    if rest and annotation is not Any and annotation is not None:
        return accepted(annotation, rest)
    return annotation


def names(kind: type, prefix: str = "") -> list[str]:
    """All keys of a dataclass, with those of the dataclasses inside."""
    found, hints = list[str](), get_type_hints(kind)
    for field in fields(kind):
        name = f"{prefix}.{field.name}" if prefix else field.name
        inner = hints[field.name]
        below = names(inner, name) if isinstance(inner, type) and is_dataclass(inner) else []
        found += [name, *below]
    return found


def look_up(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if hasattr(tree, "get") else getattr(tree, part, None)
    return tree


def shown(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean sparsity?`, or nothing if no name is near."""
    near = [name for name in get_close_matches(word, known, 3, 0.7) if name != word]
    return f"; did you mean {' or '.join(near)}?" if near else ""
