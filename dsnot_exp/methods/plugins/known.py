"""The plug-ins of this command: those of the files that `plugins=` names, and those that packages
install."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from dsnot_exp.methods.plugins.file import PluginFile, line_in, read_plugin
from dsnot_exp.methods.plugins.imports import forget
from dsnot_exp.utils.errors import RequestError, first_line


@dataclass(frozen=True)
class Installed:
    """The entry points of a group with the same name: one, unless packages clash."""

    points: tuple[EntryPoint, ...]

    @property
    def identity(self) -> str:
        """The package and its version."""
        point = self.points[0]
        return point.value if point.dist is None else f"{point.dist.name} {point.dist.version}"

    def record(self) -> dict[str, Any]:
        return {"package": self.identity}

    def load(self, group: str, name: str) -> type:
        from dsnot_exp.methods.plugins.conformity import refuse_unless_conforming  # needs torch

        if len({point.value for point in self.points}) > 1:
            values = " and ".join(point.value for point in self.points)
            raise RequestError(
                f"{group}={name}: {values} have the same name; uninstall one of their packages"
            )
        point = self.points[0]
        try:
            found: type = point.load()
        except Exception as error:  # whatever the plug-in's import raises
            raise RequestError(
                f"{group}={name}: the plug-in {point.value} fails ({first_line(error)})"
            ) from error
        refuse_unless_conforming(f"{group}={name}: the plug-in {point.value}", group, found)
        return found


_read: dict[str, PluginFile] = {}  # by the name that was given, once per command
_used: list[PluginFile] = []  # by the present configuration


def use_files(
    given: Sequence[str], ours: Mapping[str, Collection[str]], anew: bool = False
) -> None:
    """Add the methods of these files to the choices, in place of those of the files used before.
    Raises RequestError for a file that cannot be used.

    ours: the names of our own methods by group; anew: read the files again, at the start of a
    command
    """
    if anew:
        for file in _read.values():
            forget(file.modules)
        _read.clear()
    _used.clear()
    for name in dict.fromkeys(given):
        if name not in _read:
            _read[name] = _checked(read_plugin(name, list(ours)))
        _refuse_clash(_read[name], ours)
        _used.append(_read[name])


def used_files() -> list[str]:
    return [one.given for one in _used]


def names(group: str) -> set[str]:
    return {*installed(group)} | {n for one in _used for kind, n in one.methods if kind == group}


def place_of(error: BaseException) -> str | None:
    """The file and the line in which a plug-in has failed; None if no file of them has."""
    for one in _used:
        if line := line_in(one.path, error):
            return f"{one.given}, line {line}"
    return None


def source(group: str, name: str) -> PluginFile | Installed | None:
    """Where a method comes from; None: no plug-in has it."""
    found = next((one for one in _used if (group, name) in one.methods), None)
    return found or installed(group).get(name)


@functools.cache
def installed(group: str) -> dict[str, Installed]:
    """The entry points of installed packages, by name."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=f"dsnot_exp.{group}"):
        found.setdefault(point.name, []).append(point)
    return {name: Installed(tuple(points)) for name, points in found.items()}


def _checked(file: PluginFile) -> PluginFile:
    """The file, if every class in it follows its protocol, whether or not the run uses it."""
    from dsnot_exp.methods.plugins.conformity import refuse_unless_conforming  # needs torch

    for (group, name), kind in file.methods.items():
        called = getattr(kind, "__name__", repr(kind))
        refuse_unless_conforming(f"plugins={file.given}: {group}={name}: {called}", group, kind)
    return file


def _refuse_clash(file: PluginFile, ours: Mapping[str, Collection[str]]) -> None:
    for group, name in file.methods:
        other = source(group, name)
        if name in ours[group]:
            owner = "dsnot_exp"
        elif other is not None:
            owner = other.given if isinstance(other, PluginFile) else other.identity
        else:
            continue
        raise RequestError(
            f"plugins={file.given}: {owner} has {group}={name} already; choose another name"
        )
