"""Delete leftovers: shown first, deleted with --yes. A finished result is never among them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dsnot_exp.runs.items import TRASH, Item
from dsnot_exp.runs.leftovers import leftovers
from dsnot_exp.runs.sheet import Sheet
from dsnot_exp.runs.stores import unused_stores
from dsnot_exp.utils.words import size


def clean(root: Path, yes: bool, unfinished: bool, stores: bool) -> int:
    """Show what is left over below `root`, and delete it with `yes`. Returns the exit code."""
    plan = leftovers(root, unfinished)
    if stores:
        unused_stores(root, plan)
    sheet = Sheet()
    if plan.left:
        sheet.section("Left alone")
        sheet.table(("what", "why"), [(_name(p, root), why) for p, why in plan.left], "ll")
    if not plan.items:
        print(f"nothing to delete in {root}")
        return 0
    sheet.section("Deleted" if yes else "Would be deleted")
    sheet.table(("what", "size", "why"), list(_rows(plan.items, root)), "lrl")
    total = sum(item.size for item in plan.items)
    if not yes:
        print(f"\n{size(total)}; nothing is deleted yet: add --yes to delete it")
        return 0
    failed = [item for item in plan.items if not _delete(item)]
    freed = total - sum(item.size for item in failed)
    print(f"\ndeleted {len(plan.items) - len(failed)} of {len(plan.items)}, {size(freed)}")
    return int(bool(failed))


def _rows(items: list[Item], root: Path) -> Iterator[tuple[str, str, str]]:
    """A line per item; the files of a shared folder that go for the same reason have one line."""
    groups: dict[tuple[Path, str], list[Item]] = {}
    for item in items:
        shared = item.run is None and item.path.is_file()
        groups.setdefault((item.path.parent if shared else item.path, item.why), []).append(item)
    for (path, why), of in groups.items():
        name = f"{_name(path, root)}: {len(of)} files" if len(of) > 1 else _name(of[0].path, root)
        yield name, size(sum(item.size for item in of)), why


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path != root else str(root)


def _delete(item: Item) -> bool:
    """Delete what was shown, unless a run has changed it since."""
    try:
        with _locked(item.lock) as ours:
            if not ours or not item.unchanged():
                print(f"{item.path}: left alone, a run has begun to use it", file=sys.stderr)
                return False
            trash = _moved_away(item.path)
        shutil.rmtree(trash)
    except FileNotFoundError:  # another process has deleted it
        return True
    except OSError as error:
        reason = error.strerror or error
        print(f"{item.path}: cannot be deleted ({reason})", file=sys.stderr)
        return False
    return True


def _moved_away(path: Path) -> Path:
    """A folder beside `path` that now holds it: no half of a run's folder is taken for a run."""
    trash = Path(tempfile.mkdtemp(dir=path.parent, prefix=TRASH))
    try:
        os.rename(path, trash / path.name)
    except OSError:
        trash.rmdir()
        raise
    return trash


@contextmanager
def _locked(path: Path | None) -> Iterator[bool]:
    """Hold the lock of what is deleted; False if another process holds it."""
    if path is None:
        yield True
        return
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except (NotImplementedError, OSError) as error:
        raise OSError(f"no lock can be taken there: {error}") from error
    try:
        yield True
    finally:
        lock.release()
