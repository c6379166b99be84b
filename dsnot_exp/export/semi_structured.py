"""`--format semi-structured`: a 2:4 export that this machine's GPU has multiplied with.

What torch's kernels read depends on the GPU and on the version of the library, so no file holds it.
The folder is that of `2:4`, and `load_packed(..., semi_structured=True)` converts its weights on
the GPU. The export does the same once, so that what is published is known to work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dsnot_exp.config import ModelConfig
from dsnot_exp.export.load import load_packed
from dsnot_exp.export.model_files import weight_files
from dsnot_exp.models.checkpoint import checkpoint_dtype
from dsnot_exp.models.files import shard_files
from dsnot_exp.models.loading import load_config
from dsnot_exp.models.semi_structured import DTYPES, named, semi_structured, unsupported
from dsnot_exp.models.shards import Shards
from dsnot_exp.models.source import locate
from dsnot_exp.results.file import MODEL, has_model
from dsnot_exp.utils import accelerator
from dsnot_exp.utils.errors import RequestError, RunError

FORM = "semi-structured"
INSTEAD = "choose --format 2:4"


def refuse_elsewhere(run: Path, result: dict[str, Any]) -> None:
    """Raise if torch cannot multiply 2:4 weights on this machine, or not those of a run."""
    if why := unsupported(_device()):
        raise RequestError(f"--format {FORM}: {why}; {INSTEAD}, which a GPU elsewhere can convert")
    dtype = _dtype(run, result)
    if dtype not in DTYPES:
        raise RequestError(
            f"--format {FORM}: the weights of {run} are {named(dtype)}, and torch takes "
            f"{named(*DTYPES)}; repeat the run with model.dtype=bfloat16, or {INSTEAD}"
        )


def here() -> str:
    """Where the export was checked."""
    return f"{accelerator.name(_device())}, torch {torch.__version__}"


def checked(folder: Path) -> list[str]:
    """Load an export onto the GPU and convert it. Returns lines on what was converted. Raises if
    nothing can be, or if a product is wrong."""
    found = semi_structured(load_packed(folder, device=_device()))
    return [
        f"converted {len(found.converted)} layers, each with the product of the dense one, on "
        f"{here()}",
        *(f"dense     {line}" for line in found.left()),
    ]


def _device() -> torch.device:
    return accelerator.present() or torch.device("cpu")


def _dtype(run: Path, result: dict[str, Any]) -> torch.dtype:
    if has_model(run):
        try:
            entries = Shards(weight_files(run / MODEL)).entries.values()
        except OSError as error:
            raise RunError(str(error)) from error
        return next(one.dtype for one in entries if len(one.shape) > 1)
    options = ModelConfig(**result["config"]["model"])
    source = locate(options)
    return checkpoint_dtype(load_config(source), shard_files(source) or [], options.dtype)
