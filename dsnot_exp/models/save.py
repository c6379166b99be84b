"""Save the sparse model as a Hugging Face folder that plain transformers loads."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from transformers.dynamic_module_utils import custom_object_save
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME

from dsnot_exp.models.placement import Placed
from dsnot_exp.models.shards import Shards, shard_name, size_in, write_shard
from dsnot_exp.models.sparse_record import write_record
from dsnot_exp.models.streamed import Streamed
from dsnot_exp.utils.errors import RunError
from dsnot_exp.utils.files import write_atomically, writing_state
from dsnot_exp.utils.folders import written_aside

KEPT = (".json", ".safetensors", ".py")  # what loading needs; the tokenizer is saved apart


def save_model(
    model: Placed,
    tokenizer: Any,
    place: Path,
    record: dict[str, Any] | None = None,
    mark: str = "",
) -> None:
    """Write the folder aside and rename it, so that an interrupted save leaves nothing that looks
    finished.

    record: how the model was made sparse; None for a dense model
    mark: in the name of the temporary folder, see utils/folders.py
    """
    try:
        with written_aside(place, mark) as folder:
            if isinstance(model, Streamed):
                _collect(Path(model.source.path), folder)
            else:
                model.model.save_pretrained(folder, safe_serialization=True)
            if tokenizer is not None:
                tokenizer.save_pretrained(folder)
            write_record(folder, record)
            for file in folder.iterdir():
                file.chmod(0o644)  # safetensors denies access to other users
    except OSError as error:
        raise RunError(f"{place}: cannot save the sparse model ({error})") from error


def _collect(source: Path, target: Path) -> None:
    """Bring the files of a streamed model into `target`. Those that the run wrote are linked, since
    they are on the same disk; a checkpoint that others own is copied."""
    ours = target.parent in source.parents
    for file in source.iterdir():
        if ours:
            os.link(file, target / file.name)
        elif file.suffix in KEPT:
            shutil.copyfile(file, target / file.name)


def complete_folder(model: Streamed, folder: Path) -> None:
    """Add the tensors outside the blocks to the blocks' shards: a complete Hugging Face folder."""
    checkpoint, blocks = model.checkpoint, len(model.blocks[1])
    around = checkpoint.shards.read(checkpoint.around)
    around = {
        key: tensor.to(model.model.dtype) if tensor.is_floating_point() else tensor
        for key, tensor in around.items()
    }
    with writing_state(folder):
        write_shard(folder / shard_name(blocks, blocks), around)
        files = sorted(folder.glob("model-*.safetensors"))
        entries = Shards(files).entries
        index = {
            "metadata": {"total_size": size_in(entries.values())},
            "weight_map": {key: entry.file.name for key, entry in entries.items()},
        }
        write_atomically(folder / SAFE_WEIGHTS_INDEX_NAME, json.dumps(index, indent=1).encode())
        model.model.config.architectures = [type(model.model).__name__]
        model.model.config.save_pretrained(folder)
        if model.model._auto_class is not None:  # a model that comes with its own code
            custom_object_save(model.model, folder, config=model.model.config)
        if model.model.generation_config is not None:
            model.model.generation_config.save_pretrained(folder)
