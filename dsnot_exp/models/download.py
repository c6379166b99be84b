"""What of a model has to be downloaded, by the sizes that the hub states."""

from __future__ import annotations

import logging
import re

from huggingface_hub import HfApi, constants, try_to_load_from_cache
from transformers.utils import SAFE_WEIGHTS_NAME, WEIGHTS_NAME

from dsnot_exp.models.source import Source

log = logging.getLogger(__name__)
TIMEOUT_S = 5


def bytes_to_download(source: Source, use_safetensors: bool) -> int | None:
    """Of the weights that are not in the cache; None if the hub cannot be asked."""
    if source.revision is None:  # a folder
        return 0
    if source.local_files_only:
        return None
    try:
        info = HfApi().model_info(
            source.path, revision=source.revision, files_metadata=True, timeout=TIMEOUT_S
        )
    except Exception as error:  # the type depends on the HTTP library
        log.info("cannot ask %s for the sizes of %s: %r", constants.ENDPOINT, source.path, error)
        return None
    sizes = {file.rfilename: file.size for file in info.siblings or []}
    missing = [
        sizes[name]
        for name in weight_files(list(sizes), use_safetensors)
        if not isinstance(try_to_load_from_cache(source.path, name, revision=source.revision), str)
    ]
    return None if None in missing else sum(size for size in missing if size is not None)


def weight_files(names: list[str], use_safetensors: bool) -> list[str]:
    """Those that transformers loads: one file, or else all shards."""
    single = SAFE_WEIGHTS_NAME if use_safetensors else WEIGHTS_NAME
    if single in names:
        return [single]
    stem, suffix = single.rsplit(".", 1)
    shard = re.compile(rf"{re.escape(stem)}-\d+-of-\d+\.{suffix}")
    return [name for name in names if shard.fullmatch(name)]
