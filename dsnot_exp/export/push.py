"""Upload an exported folder to the hub, in one commit: readers see all of it, or what was there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    ModelInfo,
    constants,
    get_token,
)
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

from dsnot_exp.models.packed_files import INDEX
from dsnot_exp.models.source import CONFIG
from dsnot_exp.models.sparse_record import KEY
from dsnot_exp.utils.console import say
from dsnot_exp.utils.errors import RequestError, RunError, first_line

WEIGHTS = (".safetensors", ".safetensors.index.json", ".bin", ".gguf", INDEX)


def check_repository(name: str, private: bool) -> ModelInfo | None:
    """Raise if the model cannot be pushed to the repository `name`, before anything is written.
    Returns what the hub has there; None if there is nothing yet."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise RequestError(f"--push {name}: no id of a repository, such as me/my-model") from error
    if constants.HF_HUB_OFFLINE:
        raise RequestError(f"--push {name}: HF_HUB_OFFLINE is set; unset it")
    if get_token() is None:
        raise RequestError(
            f"--push {name}: you are not logged in; run `hf auth login`, or set HF_TOKEN to a "
            "token that may write"
        )
    with _one_line(name):
        try:
            found = HfApi().model_info(name)
        except RepositoryNotFoundError:
            return None
        if private and not found.private:
            raise RequestError(
                f"--push {name}: the repository exists and is public; make it private on "
                f"{constants.ENDPOINT}, or leave --private out"
            )
        _refuse_another_model(found)
        return found


def _refuse_another_model(found: ModelInfo) -> None:
    """Raise if the repository holds weights that are no export of ours."""
    names = _names(found)
    if not any(name.endswith(WEIGHTS) for name in names):
        return
    record = None
    if CONFIG in names:
        config = json.loads(Path(HfApi().hf_hub_download(found.id, CONFIG)).read_text("utf-8"))
        record = config.get(KEY) if isinstance(config, dict) else None
    if record is None:
        raise RequestError(
            f"--push {found.id}: the repository holds a model that dsnot_exp has not made; choose "
            "another name"
        )


def push(folder: Path, name: str, private: bool) -> None:
    """Upload the files of `folder`, and delete weights of an earlier push that are not among them.
    Pushed again after it was killed, it uploads what is missing."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    added = {path.relative_to(folder).as_posix(): path for path in files}
    with _one_line(name):
        HfApi().create_repo(name, private=private, exist_ok=True)
        there = check_repository(name, private)
        old = [n for n in _names(there) if n.endswith(WEIGHTS) and n not in added] if there else []
        commit = HfApi().create_commit(
            name,
            [
                *(CommitOperationDelete(path) for path in old),
                *(CommitOperationAdd(path, file) for path, file in added.items()),
            ],
            commit_message="Sparse model, by dsnot_exp",
        )
    say(f"pushed    {constants.ENDPOINT}/{name} (commit {commit.oid[:12]})")


def _names(found: ModelInfo) -> list[str]:
    return [file.rfilename for file in found.siblings or []]


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Turn the hub's errors into one line with the remedy."""
    try:
        yield
    except (RequestError, RunError):
        raise
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            line = f"{constants.ENDPOINT} rejects your token; log in again with `hf auth login`"
        elif status == 403:
            line = "your token may not write there; choose a token that may, or another name"
        else:
            raise RunError(
                f"--push {name}: {constants.ENDPOINT} answered {status} ({first_line(error)}); run "
                "the same command again"
            ) from error
        raise RequestError(f"--push {name}: {line}") from error
    except Exception as error:  # the type depends on the HTTP library
        raise RunError(
            f"--push {name}: no answer from {constants.ENDPOINT} ({first_line(error)}); run the "
            "same command again"
        ) from error
