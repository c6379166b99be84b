"""Data set files on the hub, each pinned to a commit. Offline, they come from the cache."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, get_session, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from dsnot_exp.utils.errors import RunError, first_line

PROBE_S = 5
READERS = {".parquet": "parquet", ".gz": "json"}


@dataclass(frozen=True)
class HubFile:
    """A file of a data set repository at one commit."""

    repository: str
    name: str
    commit: str
    path: Path

    def column(self, name: str) -> Sequence[str]:
        """The texts of one column, in file order."""
        from datasets import disable_progress_bars, load_dataset  # slow import

        disable_progress_bars()
        reader, file = READERS[self.path.suffix], str(self.path)
        try:
            return load_dataset(reader, data_files=file, split="train")[name]
        except Exception as error:  # damaged file, full disk: the type depends on the reader
            raise RunError(
                f"data set {self.repository}: cannot read {file} ({first_line(error, 160)}); "
                "delete the file to download it again"
            ) from error


def hub_file(repository: str, names: Sequence[str], revision: str | None = None) -> HubFile:
    """Get the first of `names` that exists in the repository, at the commit `revision` points to.

    Offline, that is the commit it pointed to when the file was downloaded.
    """
    why = unreachable()
    for name in names:
        try:
            path = hf_hub_download(
                repository, name, repo_type="dataset", revision=revision, local_files_only=bool(why)
            )
        except LocalEntryNotFoundError as error:
            why = why or first_line(error.__cause__ or error, 160)
            raise RunError(
                f"data set {repository}: {why}, and {name} is not cached; run once online, set "
                "HF_ENDPOINT to a mirror, or give the path of a .txt, .jsonl or .safetensors file"
            ) from error
        except EntryNotFoundError:
            continue
        except Exception as error:  # the type depends on network library, proxy and hub
            raise RunError(
                f"data set {repository}: cannot download {name} ({first_line(error, 160)})"
            ) from error
        commit = path.split("/snapshots/")[1].split("/")[0]
        return HubFile(repository, name, commit, Path(path))
    raise RunError(
        f"data set {repository} at {revision or 'main'}: cannot find {' or '.join(names)}; the "
        "repository's layout has changed: give the path of a .txt, .jsonl or .safetensors file"
    )


@contextmanager
def cache_if_unreachable() -> Iterator[str]:
    """Make `datasets` use its cache at once if the hub is unreachable; it would retry five times.

    Yields why the hub is unreachable, or "".
    """
    import datasets.config

    before = datasets.config.HF_HUB_OFFLINE
    try:
        why = unreachable()
        datasets.config.HF_HUB_OFFLINE = before or bool(why)
        yield why
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def unreachable() -> str:
    """Why the hub is unreachable, or "" if it is reachable. Checked at most once a minute."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    return _probe(int(time.monotonic() // 60))


@functools.lru_cache(maxsize=1)
def _probe(minute: int) -> str:
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_S)
    except Exception as error:  # the type depends on the HTTP library
        return f"{constants.ENDPOINT} cannot be reached ({first_line(error, 160)})"
    return ""
