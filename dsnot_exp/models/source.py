"""Where a model comes from: the bundled one, a folder, or the hub. Found before it is loaded."""

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
    """What `from_pretrained` needs to find a model, its tokenizer and its configuration."""

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
    """Find the model, or say in one line why it cannot be had and what to do."""
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
            f"model.path={path}: no model folder; it needs a config.json with a model_type, "
            "as save_pretrained writes it"
        )
    if model.use_safetensors:
        _refuse_pickles(path, [file.name for file in folder.iterdir()])
    return Source(path, trust_remote_code=model.trust_remote_code)


def _hub(path: str, model: ModelConfig) -> Source:
    """Find the commit, so that every later request names the same one; without the hub, the commit
    that was cached under this revision."""
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
    """What the hub says of the model; None where the hub cannot be reached."""
    if constants.HF_HUB_OFFLINE:
        return None
    try:
        return HfApi().model_info(path, revision=revision, timeout=TIMEOUT_S)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        raise
    except Exception as error:  # whatever the HTTP library of the day raises for "no network"
        if isinstance(error, HfHubHTTPError) and error.response.status_code == 401:
            raise RequestError(
                f"model.path={path}: {constants.ENDPOINT} refuses your token; log in again with "
                "`hf auth login`, or correct HF_TOKEN"
            ) from error
        log.info("%s could not be reached: %r", constants.ENDPOINT, error)
        return None


def _refuse_pickles(path: str, files: list[str]) -> None:
    if not any(name.endswith(".safetensors") for name in files):
        raise RequestError(
            f"model.path={path}: no .safetensors weights there; convert them with "
            "save_pretrained, or trust its pickles: model.use_safetensors=false"
        )


def _gated(path: str) -> str:
    return (
        f"model.path={path}: a gated model; accept its terms on {constants.ENDPOINT}/{path} "
        "and log in with `hf auth login`, or set HF_TOKEN"
    )


def _absent(path: str, cause: BaseException | None) -> str:
    why = f"{constants.ENDPOINT} cannot be reached"
    if constants.HF_HUB_OFFLINE:
        why = "HF_HUB_OFFLINE is set"
    elif isinstance(cause, HfHubHTTPError):
        reason = cause.response.headers.get("X-Error-Message", cause.response.reason_phrase)
        why = f"{constants.ENDPOINT} answers {cause.response.status_code} ({reason})"
    return (
        f"model.path={path}: {why} and nothing is cached; connect once, set HF_ENDPOINT to a "
        "mirror, or use model=local with a folder"
    )
