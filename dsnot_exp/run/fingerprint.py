"""Identifies a run by a hash over everything that affects its result."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dsnot_exp import __version__, tinyworld
from dsnot_exp.config import WITHOUT_EFFECT, ModelConfig
from dsnot_exp.methods import registry
from dsnot_exp.methods.plugins.file import PluginFile
from dsnot_exp.methods.plugins.known import Installed
from dsnot_exp.models import smollm2_folder
from dsnot_exp.models.source import Source
from dsnot_exp.run.composed import refused_name, request_of
from dsnot_exp.run.plan import Plan, make_plan
from dsnot_exp.utils.errors import DsnotError
from dsnot_exp.utils.paths import PACKAGE

WHERE_ONLY = (("model", "streaming"), ("calib", "states"))  # they choose where to compute, not what


def config_hash(plan: Plan) -> str:
    """sha256 over the resolved options, the device type, and the content of local files."""
    options = {k: v for k, v in asdict(plan.config).items() if k not in WITHOUT_EFFECT}
    for group, option in WHERE_ONLY:
        options[group].pop(option)
    if options["eval"]["blocks"] is None:  # keeps the hashes from before `eval.blocks` existed
        options["eval"].pop("blocks")
    if plan.recipe is None:  # dense: pruning and calibration options have no effect,
        # but for calib.seqlen, the default of eval.seqlen
        options["eval"]["seqlen"] = options["eval"]["seqlen"] or options["calib"]["seqlen"]
        options = {k: v for k, v in options.items() if k in ("model", "eval", "sparsity", "seed")}
    elif not plan.refines:
        options["refine"] = {"name": "none"}
    if plan.finetuner is None:  # keeps the hashes from before `finetune` existed
        options.pop("finetune", None)
    options["device"] = plan.device.type
    options["version"] = __version__
    files = {name: _fingerprint(Path(name)) for name in _local_names(plan)}
    options["files"] = files | _without_path(plan.config.model)
    if plugins := identities(plugins_of(plan)):
        options["plugins"] = plugins
    return hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()


def sparse_hash(plan: Plan) -> str:
    """The same over what makes the sparse model: runs that measure other things of it share it.

    plan: with its sequence lengths settled, so that a default equals the length that it means
    """
    return config_hash(plan.sparse_only())


def run_id(_root_: DictConfig) -> str:
    """The name of a run's folder, such as `tinyworld-wanda-0.6-dsnot-1f2e3d4c`."""
    try:
        plan = plan_of(_root_)
    except DsnotError:
        return refused_name(_root_)
    pattern = plan.config.pattern.replace(":", "of")
    amount = pattern
    if pattern == "unstructured":  # null: allocate=file says it
        amount = "file" if plan.config.sparsity is None else f"{plan.config.sparsity:g}"
    methods = [plan.config.prune["name"]]
    if plan.recipe is not None:
        methods += [amount, plan.config.refine["name"]]
        if plan.config.reconstruct["name"] != registry.NONE:
            methods += [plan.config.reconstruct["name"]]
        allocator = plan.config.allocate["name"]
        methods += [allocator] if allocator not in ("uniform", amount) else []
    if plan.finetuner is not None:
        methods += [plan.config.finetune["name"]]
    return "-".join([_model_name(plan.config.model), *methods, config_hash(plan)[:8]])


def plan_of(composed: DictConfig) -> Plan:
    """The plan of a composed configuration; its `hydra` node, if any, is ignored."""
    return make_plan(request_of(composed))


def _model_name(model: ModelConfig) -> str:
    """The model's name; for `local` and `hub` the last part of its path."""
    if model.name not in ("local", "hub") or model.path is None:
        return model.name
    return re.sub(r"[^\w.+-]+", "_", Path(model.path).expanduser().resolve().name) or model.name


def model_fingerprint(source: Source) -> str:
    """The commit of a model on the hub, or a hash of a local folder's content."""
    if source.revision is not None:
        return f"{source.path}@{source.revision}"
    return str(_fingerprint(Path(source.place)))


def code_fingerprint() -> str:
    """sha256 over this package's source and the versions of torch, transformers and lm-eval."""
    digest = hashlib.sha256()
    for file in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.c")]):
        digest.update(file.read_bytes())
    for package in ("torch", "transformers", "lm_eval"):
        digest.update(f"{package} {version(package)}".encode())
    return digest.hexdigest()


def plugins_of(
    plan: Plan, groups: Sequence[str] = tuple(registry.OURS)
) -> dict[str, PluginFile | Installed]:
    """By `GROUP=NAME` of every method of the run that is a plug-in, where it comes from."""
    groups = groups if plan.recipe is not None else ["finetune"]
    chosen = [(group, getattr(plan.config, group)["name"]) for group in groups]
    allocator: Any = plan.recipe and plan.recipe.allocator
    if hasattr(allocator, "search"):  # it compares allocations with a pruner
        chosen += [("prune", allocator.pruner)]
    found = {f"{group}={name}": registry.plugin(group, name) for group, name in chosen}
    return {key: source for key, source in found.items() if source is not None}


def identities(plugins: Mapping[str, PluginFile | Installed]) -> list[str]:
    """What the code of plug-ins is identified by."""
    return sorted({source.identity for source in plugins.values()})


def _without_path(model: ModelConfig) -> dict[str, Any]:
    """The content of a model that its name alone locates. Of smollm2-q4 it is what the folder must
    hold, whichever version of transformers made it."""
    if smollm2_folder.is_it(model):
        return {model.name: smollm2_folder.RELEASED.weights}
    if model.name == "tinyworld" and model.path is None:
        return {model.name: _fingerprint(tinyworld.MODEL)}
    return {}


def _local_names(plan: Plan) -> list[str]:
    evaluation = plan.config.eval
    names = [plan.config.model.path or "", *evaluation.perplexity, *evaluation.tasks]
    if plan.recipe is not None:
        names += [plan.config.calib.dataset, plan.config.allocate.get("path") or ""]
    names += [plan.finetuner.dataset] if plan.finetuner is not None else []
    return sorted({name for name in names if name and Path(name).expanduser().exists()})


WEIGHTS = (".safetensors", ".gguf", ".bin")


def _fingerprint(path: Path) -> Any:
    """Hash of a data file, or of a model's JSON files and samples of its weights."""
    path = path.expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return hashlib.sha256(_sampled(path)).hexdigest()
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for part in _model_files(path):
        digest.update(part.name.encode())
        digest.update(_sampled(part) if part.suffix in WEIGHTS else part.read_bytes())
    return digest.hexdigest()


def _model_files(folder: Path) -> list[Path]:
    """The files that make a model. Pickles count where there are no safetensors files."""
    safe = [*folder.glob("*.safetensors")]
    others = [] if safe else [*folder.glob("pytorch_model*.bin"), *folder.glob("*.gguf")]
    return sorted([*folder.glob("*.json"), *safe, *others])


def _sampled(path: Path, pieces: int = 64, length: int = 4096) -> bytes:
    """A file's size and `pieces` evenly spaced pieces of it. Training changes weights everywhere,
    so samples detect it; reading all 26 GB of a 13B model would take minutes."""
    size = path.stat().st_size
    found = [str(size).encode()]
    with path.open("rb") as file:
        for piece in range(pieces):
            file.seek(piece * max(0, size - length) // (pieces - 1))
            found.append(file.read(length))
    return b"".join(found)
