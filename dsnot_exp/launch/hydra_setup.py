"""Registers with Hydra: resolvers, methods' options, our sweeper, launchers' default options."""

from __future__ import annotations

import functools
import os
import re
import warnings
from dataclasses import replace

from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dsnot_exp.launch.grids import register_sweeper
from dsnot_exp.launch.machine import cores_per_job, gpus, jobs_at_once
from dsnot_exp.methods import registry
from dsnot_exp.run.composed import refused_name, request_of
from dsnot_exp.run.settle import settle
from dsnot_exp.utils.errors import DsnotError, RequestError
from dsnot_exp.utils.paths import beside_or_inside, sweeps_path
from dsnot_exp.utils.torchrun import rank_suffix

EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}


@functools.cache
def register() -> None:
    """Register everything that the files in conf/ refer to. Every process that composes or reads a
    configuration needs it, including a launcher's, which imports only the task's module."""
    for resolver in (run_id, sweeps_path, jobs_at_once, cores_per_job, gpus, rank_suffix):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
    register_methods()
    Plugins.instance()  # loads the plug-ins, which register their launchers
    register_sweeper()
    launchers = ConfigStore.instance().repo["hydra"]["launcher"]
    for name in EXTRAS:
        node = launchers.pop(f"{name}.yaml", None)
        if node is not None:
            launchers.setdefault("plugin", {})[node.name] = _moved(node)
    # In a launcher's process the plug-ins register twice, and Hydra warns about two of a name.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage reports


def run_id(_root_: DictConfig) -> str:
    """The name of a run's folder. A wrong option is refused here, before torch is imported and a
    folder is made; a sweep reports its refused jobs itself."""
    try:
        settle(request_of(_root_))
    except DsnotError:
        if OmegaConf.select(_root_, "hydra.mode") != RunMode.MULTIRUN:
            raise
        return refused_name(_root_)
    from dsnot_exp.run.run_id import run_id as name_of  # slow: torch

    return name_of(_root_)


def register_methods() -> None:
    """Store each method's options and their defaults as `GROUP/options/NAME`; the YAML files in
    conf/ extend them. A plug-in method without a YAML file is stored as `GROUP/NAME` too."""
    store, conf = ConfigStore.instance(), beside_or_inside("conf")
    for group in registry.OURS:
        store.repo.get(group, {}).clear()  # an earlier command may have had other plug-ins
        for name in registry.names(group):
            try:
                node = registry.options(group, name)
            except (RequestError, TypeError):  # a broken plug-in: reported when a run selects it
                node = {}
            node = {"name": name, **node}
            store.store(name, node, f"{group}/options")
            if not (conf / group / f"{name}.yaml").exists():
                store.store(name, node, group)


def _moved(node: ConfigNode) -> ConfigNode:
    """Move a plug-in's `hydra/launcher/NAME` to `hydra/launcher/plugin/NAME`, which
    conf/hydra/launcher/NAME.yaml extends. The copy drops the schema class, which differs between
    processes."""
    plain = OmegaConf.to_container(node.node)
    assert isinstance(plain, dict)
    return replace(node, node=OmegaConf.create(plain), group="hydra/launcher/plugin")


def missing_plugin(message: str) -> str | None:
    """The message for a launcher whose plug-in is not installed; None for any other error."""
    name = re.search(r"'hydra/launcher/plugin/(\w+)'", message)
    if name is None:
        return None
    extra = EXTRAS[name[1]]
    return f"hydra/launcher={name[1]}: not installed; run pip install 'dsnot_exp[{extra}]'"
