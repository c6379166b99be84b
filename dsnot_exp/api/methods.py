"""Methods as arguments: by name, by name and options, or as objects; and the presets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dsnot_exp.api.arguments import ArgumentError
from dsnot_exp.api.own import GROUPS, name_of
from dsnot_exp.config import ModelConfig
from dsnot_exp.methods import registry
from dsnot_exp.utils.paths import beside_or_inside

PRESET = "method"
EXTENDS = re.compile(r"options/(\w+)@_here_")  # in the defaults of a method's YAML file


class Default(str):
    """A default value, which a preset replaces."""


def chosen(arguments: Mapping[str, Any], preset: str | None) -> dict[str, Any]:
    """The options of the methods, and those that a preset sets, by key. arguments: by group; a
    `Default` gives way to the preset."""
    values = {} if preset is None else _preset(preset)
    for group, argument in arguments.items():
        if not isinstance(argument, Default) or group not in values:
            values[group] = argument
    return {k: method_options(k, v) if k in GROUPS else v for k, v in values.items()}


def _preset(name: str) -> dict[str, Any]:
    """What conf/method/NAME.yaml sets: a name for each group, and single options by key."""
    folder = beside_or_inside("conf") / PRESET
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    if name not in known:
        raise ArgumentError(f"{PRESET}={name!r}: choose from {', '.join(known)}")
    node = OmegaConf.load(folder / f"{name}.yaml")
    assert isinstance(node, DictConfig)
    values: dict[str, Any] = {}
    for entry in node.pop("defaults", []):
        ((key, value),) = entry.items()
        values[key.removeprefix("override /")] = value
    single = OmegaConf.to_container(node)
    assert isinstance(single, dict)
    return values | {str(key): value for key, value in single.items()}


def method_options(group: str, argument: Any) -> dict[str, Any]:
    """The options of one method as the command line has them, `name` included."""
    if argument is None:
        return named(group, "uniform" if group == "allocate" else registry.NONE)
    if isinstance(argument, str):
        return named(group, str(argument))
    if isinstance(argument, Mapping):
        options = dict(argument)
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise ArgumentError(f"{group}={argument!r}: the name is missing; give dict(name=...)")
        return named(group, name) | options
    if isinstance(argument, type):
        name = argument.__name__
        raise ArgumentError(f"{group}={name}: a class; give an object of it, {group}={name}()")
    return _of_object(group, argument)


def named(group: str, name: str) -> dict[str, Any]:
    """A method's options with the defaults that its name has on the command line: those of the
    dataclass, and what conf/GROUP/NAME.yaml changes."""
    file = beside_or_inside("conf") / group / f"{name}.yaml"
    if not file.is_file():
        return registry.options(group, name) | {"name": name}
    found = OmegaConf.load(file)
    assert isinstance(found, DictConfig)
    whole = OmegaConf.create({"model": asdict(ModelConfig(name="")), group: {}})  # max_cycles is
    for entry in found.pop("defaults", []):  # the model's
        if (of := EXTENDS.fullmatch(entry)) is not None:
            whole[group] = registry.options(group, of[1])
    merged = OmegaConf.to_container(OmegaConf.merge(whole, {group: found}), resolve=True)
    assert isinstance(merged, dict)
    options: dict[str, Any] = merged[group]
    return options


def _of_object(group: str, method: Any) -> dict[str, Any]:
    """The options of a method that is an object of its dataclass."""
    shown = f"{group}={type(method).__name__}()"
    for other in (group, *GROUPS):
        name = name_of(other, method)
        if name is None:
            continue
        if other != group:
            raise ArgumentError(f"{shown}: a method for {other}=, not for {group}=")
        options = {field.name: getattr(method, field.name) for field in fields(method)}
        return {"name": name, **options}
    raise ArgumentError(
        f"{group}={method!r}: expected a name from {', '.join(registry.names(group))}, "
        "dict(name=...), or an object of a method"
    )
