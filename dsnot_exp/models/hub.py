"""Find a model's repository on the hub: its commit, and the names of its files."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

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

from dsnot_exp.utils.errors import RequestError, RunError

log = logging.getLogger(__name__)
TIMEOUT_S = 20


@dataclass(frozen=True)
class Repository:
    """A model's repository at one commit. Without network it is what the cache has of it.

    revision: what the user asked for; None: the main branch
    info: the hub's answer; None if the hub is unreachable
    """

    path: str
    revision: str | None
    info: ModelInfo | None

    @property
    def offline(self) -> bool:
        return self.info is None

    def file(self, name: str) -> Path:
        """A file of the repository, downloaded if needed."""
        try:
            return Path(
                hf_hub_download(
                    self.path, name, revision=self.revision, local_files_only=self.offline
                )
            )
        except GatedRepoError as error:
            raise RequestError(_gated(self.path)) from error
        except RevisionNotFoundError as error:
            raise RequestError(_no_revision(self.path, self.revision)) from error
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise RequestError(_unknown(self.path)) from error
        except LocalEntryNotFoundError as error:
            raise RunError(_absent(self.path, error.__cause__)) from error
        except EntryNotFoundError as error:
            raise RequestError(f"model.path={self.path}: the repository has no {name}") from error

    def names(self) -> list[str] | None:
        """The names of the files, without those in folders; None if the hub does not tell."""
        if self.info is None or not self.info.siblings:
            return None
        return [file.rfilename for file in self.info.siblings if "/" not in file.rfilename]


def find(path: str, revision: str | None) -> Repository:
    try:
        return Repository(path, revision, _ask(path, revision))
    except GatedRepoError as error:
        raise RequestError(_gated(path)) from error
    except RevisionNotFoundError as error:
        raise RequestError(_no_revision(path, revision)) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise RequestError(_unknown(path)) from error


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


def _no_revision(path: str, revision: str | None) -> str:
    return f"model.revision={revision}: {path} has no such branch, tag or commit"


def _unknown(path: str) -> str:
    return (
        f"model.path={path}: neither a folder nor a model on {constants.ENDPOINT}; check "
        "the spelling, or log in with `hf auth login` if it is private"
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
