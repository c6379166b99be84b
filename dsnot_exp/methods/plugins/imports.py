"""The modules beside a file of methods that it imports: they are part of its source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from dsnot_exp.utils.errors import RequestError

OURSELVES = "dsnot_exp"  # lies beside a file in our repository


def imported_beside(path: Path, source: bytes) -> dict[str, Path]:
    """By name, the modules in the folder of `path` that it imports anywhere, and those that they
    import. A package counts with all its files."""
    found: dict[str, Path] = {}
    pending = [(path, source)]
    while pending:
        file, text = pending.pop()
        for name in {*_imported(ast.parse(text, str(file)))} - {OURSELVES}:
            for module, place in _files(path.parent, name):
                if module not in found and place != path:
                    found[module] = place
                    pending.append((place, place.read_bytes()))
    return found


def forget(beside: Mapping[str, Path]) -> None:
    """Have these modules imported anew: they may have been edited since an earlier command."""
    for name, place in beside.items():
        if _file_of(name) == place:
            del sys.modules[name]


def _imported(tree: ast.AST) -> Iterator[str]:
    """The first parts of the names of the modules that are imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _files(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    package, module = folder / name, folder / f"{name}.py"
    if package.is_dir():
        for file in sorted(package.rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), file
    elif module.is_file():
        yield name, module


def refuse_elsewhere(key: str, beside: Mapping[str, Path]) -> None:
    """A module beside the file has been hashed: it must be the one that was imported."""
    for name, place in beside.items():
        file = _file_of(name)
        if file not in (None, place):
            raise RequestError(
                f"{key}: imports {name}, which lies beside it, but {file} has the same name; "
                f"rename {place.name}"
            )


def _file_of(name: str) -> Path | None:
    file = getattr(sys.modules.get(name), "__file__", None)
    return Path(file).resolve() if file else None
