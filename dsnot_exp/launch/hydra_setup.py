"""What Hydra needs of us: resolvers, and launchers whose options conf/hydra/launcher extends."""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import replace

from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from dsnot_exp.launch.machine import cores_per_job, gpus, jobs_at_once
from dsnot_exp.methods import registry
from dsnot_exp.run.fingerprint import run_id
from dsnot_exp.utils.distributed import rank_suffix
from dsnot_exp.utils.errors import RequestError
from dsnot_exp.utils.paths import beside_or_inside, sweeps_path

EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}


def register() -> None:
    """What conf/ builds on. Needed wherever a configuration is composed or read: also in the
    processes that a launcher starts, which import the module of the task and nothing else of us."""
    for resolver in (run_id, sweeps_path, jobs_at_once, cores_per_job, gpus, rank_suffix):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
    register_methods()
    Plugins.instance()  # they register their launchers
    launchers = ConfigStore.instance().repo["hydra"]["launcher"]
    for name in EXTRAS:
        node = launchers.pop(f"{name}.yaml", None)
        if node is not None:
            launchers.setdefault("plugin", {})[node.name] = _moved(node)
    # In those processes the plug-ins register once more, and Hydra finds two of a name.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers


def register_methods() -> None:
    """Each method's options, with the defaults of its dataclass, as `GROUP/options/NAME`, which
    the YAML files of conf/ extend. A plug-in without a YAML file gets `GROUP/NAME` as well."""
    store, conf = ConfigStore.instance(), beside_or_inside("conf")
    for group in registry.OURS:
        for name in registry.names(group):
            try:
                node = registry.options(group, name)
            except (RequestError, TypeError):  # a broken plug-in: said when it is asked for
                node = {}
            node = {"name": name, **node}
            store.store(name, node, f"{group}/options")
            if not (conf / group / f"{name}.yaml").exists():
                store.store(name, node, group)


def _moved(node: ConfigNode) -> ConfigNode:
    """A plug-in's `hydra/launcher/NAME` as `hydra/launcher/plugin/NAME`, which the file of that
    name in conf/hydra/launcher extends. Without its class, which is another one in each process."""
    plain = OmegaConf.to_container(node.node)
    assert isinstance(plain, dict)
    return replace(node, node=OmegaConf.create(plain), group="hydra/launcher/plugin")


def missing_plugin(message: str) -> str | None:
    """What to say where Hydra did not find a plug-in's part of the configuration."""
    name = re.search(r"'hydra/launcher/plugin/(\w+)'", message)
    if name is None:
        return None
    extra = EXTRAS[name[1]]
    return f"hydra/launcher={name[1]}: not installed here; pip install 'dsnot_exp[{extra}]'"
