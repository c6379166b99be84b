"""The folder that an export becomes: written aside, and renamed when it is complete."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dsnot_exp.results.file import NAME as RESULT
from dsnot_exp.utils.errors import RequestError, RunError
from dsnot_exp.utils.files import write_atomically
from dsnot_exp.utils.folders import begin_aside, take_place

MARK = "export.json"  # says that the folder is an export, and of which run


def marked(folder: Path) -> dict[str, Any]:
    """What `MARK` says; empty if the folder is no export."""
    try:
        found = json.loads((folder / MARK).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def refuse_destination(out: Path, config_hash: str) -> None:
    """Raise if `out` holds anything but an earlier export of the same run."""
    if out.is_dir():
        mark = marked(out)
        if mark.get("config_hash") == config_hash or not any(out.iterdir()):
            return
        what = "holds the export of another run" if mark else "is not empty, and no export"
        if (out / RESULT).exists():
            what = "is the folder of a run"
        raise RequestError(f"--out {out}: {what}; choose another folder, or delete it")
    if out.exists():
        raise RequestError(f"--out {out}: is a file; choose another name")


@contextmanager
def written_aside(out: Path, mark: dict[str, Any]) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place when the block ends without an error.
    A killed export leaves `out` as it was; the next one deletes what is left of it.

    mark: the content of MARK, with the run's `config_hash`. One process exports a run at a time.
    """
    own = f"{mark['config_hash'][:8]}."
    try:
        temporary = begin_aside(out, own)
    except OSError as error:
        raise RunError(f"--out {out}: cannot be written ({error.strerror})") from error
    try:
        yield temporary
        write_atomically(temporary / MARK, (json.dumps(mark, indent=1) + "\n").encode())
        take_place(temporary, out, own)
    except OSError as error:
        raise RunError(
            f"{error.filename or out}: cannot be written ({error.strerror or error}); what was "
            "there is unchanged"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
