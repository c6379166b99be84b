"""Files of data sets on the hub, each at one commit; from the cache where there is no network."""

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
    """A file of a data set's repository and the commit that it is from."""

    repository: str
    name: str
    commit: str
    path: Path

    def column(self, name: str) -> Sequence[str]:
        """The texts of one column, in the file's order."""
        from datasets import disable_progress_bars, load_dataset  # imports slowly

        disable_progress_bars()
        reader, file = READERS[self.path.suffix], str(self.path)
        try:
            return load_dataset(reader, data_files=file, split="train")[name]
        except Exception as error:  # a damaged file, a full disk: each reader raises its own
            raise RunError(
                f"data set {self.repository}: {file} cannot be read ({first_line(error, 160)}); "
                "delete it so that it is downloaded again"
            ) from error


def hub_file(repository: str, names: Sequence[str], revision: str | None = None) -> HubFile:
    """The first of `names` that the repository has, at what `revision` means now; without the
    hub, what it meant when the file was downloaded."""
    why = unreachable()
    for name in names:
        try:
            path = hf_hub_download(
                repository, name, repo_type="dataset", revision=revision, local_files_only=bool(why)
            )
        except LocalEntryNotFoundError as error:
            why = why or first_line(error.__cause__ or error, 160)
            raise RunError(
                f"data set {repository}: {why}, and {name} is not cached; connect once, set "
                "HF_ENDPOINT to a mirror, or give the path of a .txt, .jsonl or .safetensors file"
            ) from error
        except EntryNotFoundError:
            continue
        except Exception as error:  # network, proxies, hubs: each raises its own
            raise RunError(
                f"data set {repository}: {name} cannot be had ({first_line(error, 160)})"
            ) from error
        commit = path.split("/snapshots/")[1].split("/")[0]
        return HubFile(repository, name, commit, Path(path))
    raise RunError(
        f"data set {repository} at {revision or 'main'}: has no {' and no '.join(names)}; its "
        "layout has changed: give the path of a .txt, .jsonl or .safetensors file"
    )


@contextmanager
def cache_if_unreachable() -> Iterator[str]:
    """`datasets` asks a hub that does not answer five times before it looks into its cache: tell it
    at once. Gives why it cannot be reached, or nothing."""
    import datasets.config

    before = datasets.config.HF_HUB_OFFLINE
    try:
        why = unreachable()
        datasets.config.HF_HUB_OFFLINE = before or bool(why)
        yield why
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def unreachable() -> str:
    """Why the hub cannot be reached; nothing if it can. Found out once a minute at most."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    return _probe(int(time.monotonic() // 60))


@functools.lru_cache(maxsize=1)
def _probe(minute: int) -> str:
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_S)
    except Exception as error:  # whatever the HTTP library of the day raises for "no network"
        return f"{constants.ENDPOINT} cannot be reached ({first_line(error, 160)})"
    return ""
