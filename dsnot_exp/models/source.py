"""Locate a model before it is loaded: the bundled model, a folder, or the hub."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelInfo, constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dsnot_exp import tinyworld
from dsnot_exp.config import ModelConfig
from dsnot_exp.utils.errors import RequestError, RunError

log = logging.getLogger(__name__)
TIMEOUT_S = 20


@dataclass(frozen=True)
class Source:
    """The arguments of `from_pretrained` that locate a model, its tokenizer and configuration."""

    path: str
    revision: str | None = None  # the commit on the hub; None for a folder
    local_files_only: bool = True
    trust_remote_code: bool = False

    def arguments(self) -> dict[str, Any]:
        return {
            "pretrained_model_name_or_path": self.path,
            "revision": self.revision,
            "local_files_only": self.local_files_only,
            "trust_remote_code": self.trust_remote_code,
        }


def locate(model: ModelConfig) -> Source:
    """Locate the model, or raise an error whose one line names the problem and the fix."""
    if model.name == "tinyworld" and model.path is None:
        return _folder(str(tinyworld.MODEL), model)
    if model.path is None:
        raise RequestError(
            f"model={model.name}: model.path is missing; "
            "give a Hugging Face folder, such as model.path=/models/my-llama"
        )
    if model.name == "local" or Path(model.path).expanduser().is_dir():
        return _folder(str(Path(model.path).expanduser()), model)
    return _hub(model.path, model)


def _folder(path: str, model: ModelConfig) -> Source:
    folder, config = Path(path), Path(path) / "config.json"
    if not folder.is_dir():
        hint = " (for a hub id: model=hub)" if model.name == "local" else ""
        raise RequestError(f"model.path={path}: no such folder{hint}")
    try:
        known = "model_type" in json.loads(config.read_text("utf-8"))
    except (OSError, ValueError, TypeError):
        known = False
    if not known and not model.trust_remote_code:
        raise RequestError(
            f"model.path={path}: not a model folder; it needs a config.json with a model_type, "
            "as save_pretrained writes it"
        )
    if model.use_safetensors:
        _refuse_pickles(path, [file.name for file in folder.iterdir()])
    return Source(path, trust_remote_code=model.trust_remote_code)


def _hub(path: str, model: ModelConfig) -> Source:
    """Resolve the revision to a commit, so that all later requests use the same one. Offline, use
    the commit cached for this revision."""
    try:
        found = _ask(path, model.revision)
        offline = found is None
        config = hf_hub_download(
            path, "config.json", revision=model.revision, local_files_only=offline
        )
    except GatedRepoError as error:
        raise RequestError(_gated(path)) from error
    except RevisionNotFoundError as error:
        raise RequestError(
            f"model.revision={model.revision}: {path} has no such branch, tag or commit"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise RequestError(
            f"model.path={path}: neither a folder nor a model on {constants.ENDPOINT}; check "
            "the spelling, or log in with `hf auth login` if it is private"
        ) from error
    except LocalEntryNotFoundError as error:
        raise RunError(_absent(path, error.__cause__)) from error
    except EntryNotFoundError as error:
        raise RequestError(f"model.path={path}: the repository has no config.json") from error
    if model.use_safetensors and found is not None and found.siblings:
        _refuse_pickles(path, [file.rfilename for file in found.siblings])
    commit = Path(config).parent.name  # .../snapshots/<commit>/config.json
    return Source(path, commit, offline, model.trust_remote_code)


def _ask(path: str, revision: str | None) -> ModelInfo | None:
    """The hub's information about the model; None if the hub is unreachable."""
    if constants.HF_HUB_OFFLINE:
        return None
    try:
        return HfApi().model_info(path, revision=revision, timeout=TIMEOUT_S)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        raise
    except Exception as error:  # the type depends on the HTTP library
        if isinstance(error, HfHubHTTPError) and error.response.status_code == 401:
            raise RequestError(
                f"model.path={path}: {constants.ENDPOINT} rejects your token; log in again with "
                "`hf auth login`, or correct HF_TOKEN"
            ) from error
        log.info("cannot reach %s: %r", constants.ENDPOINT, error)
        return None


def _refuse_pickles(path: str, files: list[str]) -> None:
    if not any(name.endswith(".safetensors") for name in files):
        raise RequestError(
            f"model.path={path}: no .safetensors weights found; convert the model with "
            "save_pretrained, or trust its pickle files with model.use_safetensors=false"
        )


def _gated(path: str) -> str:
    return (
        f"model.path={path}: this model is gated; accept its terms on {constants.ENDPOINT}/{path} "
        "and log in with `hf auth login`, or set HF_TOKEN"
    )


def _absent(path: str, cause: BaseException | None) -> str:
    why = f"{constants.ENDPOINT} cannot be reached"
    if constants.HF_HUB_OFFLINE:
        why = "HF_HUB_OFFLINE is set"
    elif isinstance(cause, HfHubHTTPError):
        reason = cause.response.headers.get("X-Error-Message", cause.response.reason_phrase)
        why = f"{constants.ENDPOINT} returned {cause.response.status_code} ({reason})"
    return (
        f"model.path={path}: {why} and nothing is cached; run once online, set HF_ENDPOINT to a "
        "mirror, or use model=local with a folder"
    )
