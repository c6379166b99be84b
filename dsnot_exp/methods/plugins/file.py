"""Reads a file of methods, `plugins=[my_methods.py]`. It ends with

    METHODS = {"prune=mine": Mine}

The result of a run depends on the source of the methods it uses. So the file is read once per
command, and what was read is both what is executed and what is hashed.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from dsnot_exp.methods.plugins.imports import imported_beside, refuse_elsewhere
from dsnot_exp.utils.errors import RequestError, first_line

EXAMPLE = 'METHODS = {"prune=mine": Mine}'
NAME = re.compile(r"[A-Za-z]\w*([.+-]\w+)*")
WORDS = ("auto", "none", "null", "true", "false", "yes", "no", "on", "off")  # mean something else


@dataclass(frozen=True)
class PluginFile:
    """methods: the classes by group and name; given: as the file was named
    sha256: of the file; imports: the same by name of the modules beside it that it imports
    modules: the files of these modules
    """

    given: str
    path: Path
    sha256: str
    imports: Mapping[str, str]
    modules: Mapping[str, Path]
    methods: Mapping[tuple[str, str], Any]

    @property
    def identity(self) -> str:
        """What a result depends on: the sources, wherever they are."""
        return "sha256:" + "+".join([self.sha256, *self.imports.values()])

    def load(self, group: str, name: str) -> type:
        kind: type = self.methods[group, name]
        return kind

    def record(self) -> dict[str, Any]:
        """What result.json says about it."""
        own = {"file": self.path.name, "sha256": self.sha256}
        return own | ({"imports": dict(self.imports)} if self.imports else {})


def read_plugin(given: str, groups: list[str]) -> PluginFile:
    """Read and execute a file. A RequestError names the file, what is wrong with it, and what it
    should be. groups: the kinds of methods that there are"""
    key, path = f"plugins={given}", Path(given).expanduser().resolve()
    if not path.is_file() or path.suffix != ".py":
        what = "not a Python file" if path.exists() else "no such file"
        raise RequestError(f"{key}: {what}; give the path of a .py file that ends with {EXAMPLE}")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise RequestError(f"{key}: cannot be read ({error.strerror})") from error
    module, beside = _execute(key, path, source)
    found = getattr(module, "METHODS", None)
    if not isinstance(found, dict) or not found:
        says = "has no METHODS" if found is None else "METHODS is no dictionary of classes"
        raise RequestError(f"{key}: {says}; end the file with {EXAMPLE}")
    methods = {_name(key, name, groups): kind for name, kind in found.items()}
    return PluginFile(given, path, _sha256(source), _hashes(beside), beside, methods)


def _execute(key: str, path: Path, source: bytes) -> tuple[ModuleType, dict[str, Path]]:
    """The module, and the modules beside the file that it imports."""
    module = ModuleType(f"{path.stem} {_sha256(str(path).encode())[:8]}")  # nothing imports it
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their annotations up there
    try:
        code = compile(source, str(path), "exec")
        beside = imported_beside(path, source)
        with _findable(path.parent):
            exec(code, module.__dict__)
    except SyntaxError as error:
        raise RequestError(
            f"{key}: {error.msg} in line {error.lineno} of {Path(error.filename or path).name}"
        ) from error
    except (Exception, SystemExit) as error:  # whatever the file raises
        line = line_in(path, error)
        where = f" in line {line}" if line else ""
        raise RequestError(
            f"{key}: cannot be imported{where}: {type(error).__name__}: {first_line(error)}"
        ) from error
    refuse_elsewhere(key, beside)
    return module, beside


@contextmanager
def _findable(folder: Path) -> Iterator[None]:
    """The modules in `folder` can be imported, first of all while the file is executed, and last of
    all in its functions. They are read from their sources: compiled code of the same second and
    size would be taken for that of a module that was edited since."""
    place, before = str(folder), sys.dont_write_bytecode
    sys.path.insert(0, place)
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
        sys.path.remove(place)
        if place not in sys.path:
            sys.path.append(place)


def line_in(path: Path, error: BaseException) -> int | None:
    """The last line of the file that was executed."""
    found, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


def _name(key: str, name: Any, groups: list[str]) -> tuple[str, str]:
    """`prune=mine` -> ("prune", "mine")"""
    group, equals, own = name.partition("=") if isinstance(name, str) else ("", "", "")
    if not equals:
        raise RequestError(f"{key}: METHODS names {name!r}; write GROUP=NAME, as in {EXAMPLE}")
    if group not in groups:
        raise RequestError(
            f"{key}: METHODS names {name}, but there is no group {group!r}; choose from "
            f"{', '.join(groups)}"
        )
    if not NAME.fullmatch(own) or own.lower() in WORDS:
        raise RequestError(
            f"{key}: METHODS names {name}; choose a name of letters, digits and _ that begins with "
            f"a letter and is none of {', '.join(WORDS)}"
        )
    return group, own


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _hashes(files: Mapping[str, Path]) -> dict[str, str]:
    return {name: _sha256(path.read_bytes()) for name, path in sorted(files.items())}
