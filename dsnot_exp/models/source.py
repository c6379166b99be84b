"""Locate a model before it is loaded: the bundled model, a folder, a .gguf file, or the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsnot_exp import tinyworld
from dsnot_exp.config import ModelConfig
from dsnot_exp.models import gguf, hub, smollm2_folder
from dsnot_exp.models.formats import ADAPTER, refuse_adapter, refuse_quantised
from dsnot_exp.models.intact import read_json
from dsnot_exp.utils.errors import RequestError

CONFIG = "config.json"
SAFETENSORS = (".safetensors", ".safetensors.index.json")


@dataclass(frozen=True)
class Source:
    """The arguments of `from_pretrained` that locate a model, its tokenizer and configuration."""

    path: str
    revision: str | None = None  # the commit on the hub; None for a folder
    local_files_only: bool = True
    trust_remote_code: bool = False
    gguf: str | None = None  # the name of the file in the folder `path` that holds everything

    @property
    def place(self) -> str:
        """What the user knows the model by: its file, folder, or id on the hub."""
        return self.path if self.gguf is None else str(Path(self.path) / self.gguf)

    def arguments(self) -> dict[str, Any]:
        return {
            "pretrained_model_name_or_path": self.path,
            "revision": self.revision,
            "local_files_only": self.local_files_only,
            "trust_remote_code": self.trust_remote_code,
            **({"gguf_file": self.gguf} if self.gguf is not None else {}),
        }


def locate(model: ModelConfig) -> Source:
    """Locate the model, or raise an error whose one line names the problem and the fix."""
    if model.name == "tinyworld" and model.path is None:
        return _folder(str(tinyworld.MODEL), model)
    if smollm2_folder.is_it(model):
        return _folder(str(smollm2_folder.intact(model, smollm2_folder.RELEASED)), model)
    if model.path is None:
        raise RequestError(
            f"model={model.name}: model.path is missing; "
            "give a Hugging Face folder, such as model.path=/models/my-llama"
        )
    path = Path(model.path).expanduser()
    if path.is_file():
        return _file(path)
    if model.name == "local" or path.is_dir():
        return _folder(str(path), model)
    return _hub(model.path, model)


def _file(file: Path) -> Source:
    if file.suffix != gguf.SUFFIX:
        raise RequestError(
            f"model.path={file}: a model is a folder or a .gguf file; give the folder that this "
            "file is in"
        )
    gguf.refuse_broken_gguf(str(file), file)
    return Source(str(file.parent), gguf=file.name)


def _folder(path: str, model: ModelConfig) -> Source:
    folder = Path(path)
    if not folder.is_dir():
        hint = " (for a hub id: model=hub)" if model.name == "local" else ""
        raise RequestError(f"model.path={path}: no such folder{hint}")
    names = sorted(file.name for file in folder.iterdir())
    if ADAPTER in names:
        refuse_adapter(path, read_json(path, folder / ADAPTER), _has_weights(names))
    if not _has_weights(names, pickles=not model.use_safetensors):
        packed = gguf.only_gguf(path, folder)
        if packed is not None:
            return _file(packed)
    if CONFIG not in names and not model.trust_remote_code:
        raise RequestError(_no_model(path))
    config = read_json(path, folder / CONFIG) if CONFIG in names else {}
    if "model_type" not in config and not model.trust_remote_code:
        raise RequestError(_no_model(path))
    refuse_quantised(path, config, names)
    if model.use_safetensors:
        _refuse_pickles(path, names)
    return Source(path, trust_remote_code=model.trust_remote_code)


def _hub(path: str, model: ModelConfig) -> Source:
    """Resolve the revision to a commit, so that all later requests use the same one. Offline, use
    the commit cached for this revision."""
    repository = hub.find(path, model.revision)
    names = repository.names()
    if names is not None and ADAPTER in names:
        refuse_adapter(path, read_json(path, repository.file(ADAPTER)), _has_weights(names))
    if names is not None and CONFIG not in names and any(n.endswith(gguf.SUFFIX) for n in names):
        raise RequestError(
            f"model.path={path}: the repository holds .gguf files; download one, and give it as "
            "model=local model.path=file.gguf"
        )
    config = repository.file(CONFIG)  # .../snapshots/<commit>/config.json
    if names is None:
        names = [file.name for file in config.parent.iterdir()]
        if ADAPTER in names:
            refuse_adapter(path, read_json(path, config.parent / ADAPTER), _has_weights(names))
    elif model.use_safetensors:
        _refuse_pickles(path, names)
    refuse_quantised(path, read_json(path, config), names)
    commit = config.parent.name
    return Source(path, commit, repository.offline, model.trust_remote_code)


def _has_weights(names: list[str], pickles: bool = True) -> bool:
    """Whether a model's own weights are among the files."""
    return any(
        (name.endswith(SAFETENSORS) and not name.startswith("adapter_"))
        or (pickles and name.startswith("pytorch_model"))
        for name in names
    )


def _refuse_pickles(path: str, names: list[str]) -> None:
    if not any(name.endswith(SAFETENSORS) for name in names):
        raise RequestError(
            f"model.path={path}: no .safetensors weights found; convert the model with "
            "save_pretrained, or trust its pickle files with model.use_safetensors=false"
        )


def _no_model(path: str) -> str:
    return (
        f"model.path={path}: not a model folder; it needs a config.json with a model_type, "
        "as save_pretrained writes it"
    )
