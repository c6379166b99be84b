"""Removes home paths and secrets from files that users share: `~` for home, `***` for tokens."""

from __future__ import annotations

import os
import re
from typing import Any

MASK = "***"
SECRET_NAME = r"[\w.-]*(?:token|api[_-]?key|secret|passw(?:or)?d)"
NAMED = re.compile(rf"(?i)\b({SECRET_NAME})([=:]\s*)[^\s,;&'\"\]}})]+")
KNOWN = re.compile(r"\b(?:hf|gh[opsu]|github_pat|glpat|wandb_v\d+|sk)[_-][A-Za-z0-9_]{16,}")
IN_ADDRESS = re.compile(r"(?<=://)[^\s/@]+@")  # https://user:secret@host
SHORTEST = 8  # characters; shorter values and plain words also appear in ordinary text


def private(tree: Any) -> Any:
    """A copy of `tree` (dicts, lists, plain values). In every string, keys included, `~` replaces
    the home directory at the start of a path, and `***` replaces secrets."""
    return _mapped(tree, _homes(), _secrets())


def _mapped(tree: Any, homes: list[re.Pattern[str]], secrets: list[str]) -> Any:
    if isinstance(tree, dict):
        return {
            _mapped(key, homes, secrets): _mapped(value, homes, secrets)
            for key, value in tree.items()
        }
    if isinstance(tree, list | tuple):
        return [_mapped(value, homes, secrets) for value in tree]
    return _concealed(tree, homes, secrets) if isinstance(tree, str) else tree


def _concealed(text: str, homes: list[re.Pattern[str]], secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    text = NAMED.sub(rf"\1\2{MASK}", text)
    text = IN_ADDRESS.sub(f"{MASK}@", KNOWN.sub(MASK, text))
    for home in homes:
        text = home.sub("~", text)
    return text


def _homes() -> list[re.Pattern[str]]:
    """Patterns for the home directory at the start of a path: at the start of the text or after a
    blank, `=`, `[`, a quote or `file://`. They do not match inside another path, nor a folder whose
    name only starts the same way."""
    home = os.path.expanduser("~")
    names = {name.rstrip("/") for name in (home, os.path.realpath(home)) if name.startswith("/")}
    starts = r"(?:(?<=://)|(?<![\w./~-]))"
    ends = r"(?![\w-]|\.\w)"
    longest = sorted(filter(None, names), key=len, reverse=True)
    return [re.compile(starts + re.escape(name) + ends) for name in longest]


def _secrets() -> list[str]:
    """The values of secret environment variables; a user may also have typed them as options."""
    named = re.compile(rf"(?i){SECRET_NAME}$")
    values = {value for name, value in os.environ.items() if named.fullmatch(name)}
    random = {value for value in values if len(value) >= SHORTEST and not value.isalpha()}
    return sorted((value for value in random if "/" not in value), key=len, reverse=True)
