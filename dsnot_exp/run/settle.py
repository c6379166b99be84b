"""Checks a request and settles its options, before torch is imported: a wrong option is answered at
once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from dsnot_exp.config import Config
from dsnot_exp.data.corpora import refuse_unknown
from dsnot_exp.methods import registry
from dsnot_exp.methods.notation import pruned_share, read_pattern
from dsnot_exp.run.auto_allocation import settle_allocator
from dsnot_exp.run.build_method import check
from dsnot_exp.run.check_allocation_options import FILE, check_allocation
from dsnot_exp.run.check_options import check_options
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.torchrun import world_size


def settle(config: Config, given: Collection[str] = ()) -> Config:
    """The configuration with `sparsity` and the switches resolved. A RequestError names the key,
    the value and the remedy. What needs torch, a model or data is checked later.

    given: names of data sets that the caller holds in memory
    """
    config = replace(config, plugins=plugin_files(config.plugins))
    registry.use_files(config.plugins)
    check_options(config)
    dense = is_none(config.prune)
    amount = read_pattern(config.pattern, config.sparsity)
    config = replace(config, allocate=settle_allocator(config.allocate, amount))
    # Check them even if the run does not use them, so that a misspelt option always raises.
    for group in ("refine", "allocate", "reconstruct", "prune", "finetune"):
        if group in ("allocate", "reconstruct") or not is_none(getattr(config, group)):
            check(group, getattr(config, group))
    for name in config.eval.perplexity:
        if name not in given:
            refuse_unknown("eval.perplexity", name)
    if not dense and config.calib.dataset not in given:
        refuse_unknown("calib.dataset", config.calib.dataset)
    _check_finetuning(config)
    if not dense:
        check_allocation(config.allocate, config, amount)
    pattern = config.pattern
    given_later = config.allocate["name"] == FILE and config.sparsity is None
    if isinstance(amount, tuple):
        pattern, amount = "{}:{}".format(*amount), pruned_share(*amount)
    return replace(
        config,
        sparsity=0.0 if dense else None if given_later else amount,
        pattern=pattern,
        # an unquoted `true` in YAML arrives as "True"
        model=replace(config.model, streaming=config.model.streaming.lower()),
        calib=replace(config.calib, bos=config.calib.bos.lower()),
        eval=replace(
            config.eval, streaming=config.eval.streaming.lower(), bos=config.eval.bos.lower()
        ),
        relative_error=config.relative_error.lower(),
        resume=config.resume.lower(),
        keep=config.keep.lower(),
    )


def is_none(options: dict[str, object]) -> bool:
    return options["name"] == registry.NONE


def plugin_files(given: Any) -> list[str]:
    """The files of `plugins=`: one, a list, or none."""
    files = [given] if isinstance(given, str) and given else given or []
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise RequestError(
            f"plugins={given}: expected Python files, such as plugins=[my_methods.py]"
        )
    return files


def _check_finetuning(config: Config) -> None:
    name = config.finetune["name"]
    if name == registry.NONE:
        return
    if is_none(config.prune):
        raise RequestError(
            f"finetune={name}: with prune=none there is no sparse model to train; choose a "
            "pruner, or finetune=none"
        )
    if world_size() > 1:
        raise RequestError(
            f"finetune={name}: training uses one process; start it without torchrun, or choose "
            "finetune=none"
        )
    refuse_unknown("finetune.dataset", check("finetune", config.finetune).dataset)
