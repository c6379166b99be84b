"""The folder that an export becomes: written aside, and renamed when it is complete."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dsnot_exp.results.file import NAME as RESULT
from dsnot_exp.utils.errors import RequestError, RunError
from dsnot_exp.utils.files import write_atomically

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
    prefix = f".{out.name}.{mark['config_hash'][:8]}."
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _tidy(out, prefix)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=prefix))
    except OSError as error:
        raise RunError(f"--out {out}: cannot be written ({error.strerror})") from error
    try:
        yield temporary
        write_atomically(temporary / MARK, (json.dumps(mark, indent=1) + "\n").encode())
        temporary.chmod(0o755)  # mkdtemp denies access to other users
        _take_place(temporary, out, prefix)
    except OSError as error:
        raise RunError(
            f"{error.filename or out}: cannot be written ({error.strerror or error}); what was "
            "there is unchanged"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _tidy(out: Path, prefix: str) -> None:
    """Delete what killed exports of the run have left; put back a folder that one of them had
    moved away."""
    for left in sorted(out.parent.glob(f"{prefix}*")):
        if left.name.endswith(".old") and not out.exists():
            os.rename(left, out)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _take_place(temporary: Path, out: Path, prefix: str) -> None:
    old = out.parent / f"{prefix}old"
    if out.exists():
        os.rename(out, old)
    os.rename(temporary, out)
    shutil.rmtree(old, ignore_errors=True)
