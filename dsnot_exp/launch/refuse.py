"""Refuses options that Hydra would misread or answer in its own terms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString

from dsnot_exp.config import Config
from dsnot_exp.methods import registry
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.paths import beside_or_inside
from dsnot_exp.utils.wanted import accepted, did_you_mean, shown

PRESET = "method"  # a group that is added with +
FEW = 40  # choices that fit into a line
# What a switch accepts; OmegaConf alone would read save=2 as true.
ON_OFF = ("true", "false", "yes", "no", "on", "off", "1", "0")


def refuse(options: list[Override], sweeps: bool, own: str | None = None) -> None:
    """Check the options of a command that starts runs. sweeps: with -m; own: the folder of
    --config-dir"""
    for option in options:
        key, word = option.key_or_group, option.input_line or ""
        if key.startswith("hydra"):
            continue
        plus = "+" if key == PRESET else ""
        if option.is_delete():
            raise RequestError(
                f"{word}: an option cannot be removed; choose a value: {plus}{key}=VALUE"
            )
        if option.package is not None and key in (*groups(), PRESET):
            raise RequestError(f"{word}: write {plus}{key}=VALUE, without @{option.package}")
        if key == "sweeps":
            _check_study(option, sweeps)
        elif key.split(".")[0] == PRESET:
            _check_preset(option, own)
        elif key in groups():
            if option.is_add():
                raise RequestError(f"{word}: write {word.lstrip('+')}, without +")
            _check_names(option, own)
        switch = accepted(Config, key) is bool
        if switch and any(str(value).lower() not in ON_OFF for value in _values(option)):
            raise RequestError(f"{word}: expected true or false")
        if option.is_sweep_override() and not sweeps:
            raise RequestError(_several(word, key))


def _check_names(option: Override, own: str | None) -> None:
    """The values of a group are names."""
    key = option.key_or_group
    known = choices(key, own)
    for value in _values(option):
        if isinstance(value, list):
            raise RequestError(f"{option.input_line}: choose one of {', '.join(known)}")
        if not isinstance(value, str | dict):
            raise RequestError(no_choice(key, shown(value), known))
        if isinstance(value, str) and value not in known:
            refuse_path(key, value)


def no_choice(group: str, value: str, known: list[str]) -> str:
    """One line: `value` is none of the choices of `group`."""
    near = did_you_mean(value, known)
    if len(known) > FEW:
        return f"{group}={value}: no such choice{near or ';'} --help lists all"
    return f"{group}={value}: choose from {', '.join(known)}{near}"


def refuse_path(group: str, value: str) -> None:
    """`model`, `calib` and `eval` take the name of a choice; a path goes to one of their options,
    as does a data set to evaluate on."""
    found = re.match(r"[/~.]", value) or (value and Path(value).expanduser().exists())
    if group == "model" and found:
        raise RequestError(f"model={value}: for a folder write model=local model.path={value}")
    if group == "model" and re.fullmatch(r"[\w.-]+/[\w.-]+", value):
        raise RequestError(
            f"model={value}: for a model on the hub write model=hub model.path={value}"
        )
    if group == "calib" and found:
        raise RequestError(f"calib={value}: for a file write calib.dataset={value}")
    if group == "eval" and (found or value in choices("calib")):
        raise RequestError(f"eval={value}: for a text write eval.perplexity=[{value}]")


def groups() -> list[str]:
    found = [path.name for path in beside_or_inside("conf").iterdir() if path.is_dir()]
    return sorted({*found, *registry.OURS} - {"hydra", PRESET})


def choices(group: str, own: str | None = None) -> list[str]:
    """The names that a group accepts: our files, the plug-ins, and those in the folder `own`."""
    folders = [beside_or_inside("conf"), *([Path(own)] if own else [])]
    files = [file for folder in folders for file in (folder / group).glob("*.yaml")]
    stored = ConfigStore.instance().repo.get(group, {})
    names = {path.stem for path in files} | {n[:-5] for n in stored if n.endswith(".yaml")}
    return sorted(names)


def _values(option: Override) -> list[Any]:
    value = option._value
    listed = value.list if isinstance(value, ChoiceSweep) else [value]
    return [one.text if isinstance(one, QuotedString) else one for one in listed]


def _check_study(option: Override, sweeps: bool) -> None:
    word = option.input_line or ""
    if not option.is_add():
        raise RequestError(f"{word}: for a study write -m +{word}")
    if not sweeps:
        raise RequestError(f"{word}: a study has several runs: add -m")


def _check_preset(option: Override, own: str | None) -> None:
    word, key = option.input_line or "", option.key_or_group
    if key != PRESET:
        raise RequestError(f"{key}: no such option; a preset is chosen with +{PRESET}=NAME")
    if not option.is_add():
        raise RequestError(f"{word}: for a preset write +{word.lstrip('+')}")
    _check_names(option, own)


def _several(word: str, key: str) -> str:
    value = word.partition("=")[2]
    if key in (*groups(), PRESET):
        return f"{word}: several values are a sweep: add -m"
    if key == "pattern":
        return f"{word}: write {key}={value.replace(',', ':')}; to sweep over patterns, add -m"
    if re.fullmatch(r"-?\d+,\d+", value):
        return f"{word}: write {key}={value.replace(',', '.')}; to sweep over two values, add -m"
    return f"{word}: several values are a sweep: add -m; a list is written {key}=[{value}]"
