"""Find the one run that a word means."""

from __future__ import annotations

from pathlib import Path

from dsnot_exp.results.file import NAME
from dsnot_exp.runs.find import Found, find, folders, look
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.wanted import did_you_mean

MOST_NAMED = 8


def choose(word: str, root: Path) -> Found:
    """The run in the folder `word`, or the only one below `root` whose folder has this name, or
    whose name or hash starts or ends like this. Raises if there is none, or more than one."""
    for path in (Path(word).expanduser(), root / word):
        place = path.parent if path.name == NAME else path
        if place.is_dir() and next(folders(place), None) == place:
            return look(place, place)
        if place.is_dir() and (inside := [one.name for one in find(place)]):
            raise RequestError(
                f"{word}: holds {len(inside)} runs; give one of them: {_some(inside)}"
            )
    runs = find(root) if root.is_dir() else []
    for fits in (_is_named, _starts_or_ends):
        fitting = [run for run in runs if fits(run, word.rstrip("/"))]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            names = _some([run.name for run in fitting])
            raise RequestError(f"{word}: {len(fitting)} runs in {root} fit; give more of: {names}")
    if not runs:
        raise RequestError(f"{word}: no such folder, and there is no run in {root}")
    hint = did_you_mean(word, [run.folder.name for run in runs])
    raise RequestError(
        f"{word}: no such run in {root}{hint or f'; python -m dsnot_exp.runs {root} lists them'}"
    )


def _is_named(run: Found, word: str) -> bool:
    return word in (run.name, run.folder.absolute().name)


def _starts_or_ends(run: Found, word: str) -> bool:
    name = run.folder.absolute().name
    identity = str(run.run.result.get("config_hash") or "") if run.run is not None else ""
    names = (name, run.name)
    return any(one.startswith(word) or one.endswith(word) for one in names) or (
        identity.startswith(word)
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
