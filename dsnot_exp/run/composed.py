"""From Hydra's composed configuration to a request, without torch."""

from __future__ import annotations

import copy
import hashlib

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from dsnot_exp.config import Config, to_config


def request_of(composed: DictConfig) -> Config:
    """The options of a composed configuration; its `hydra` node, if any, is ignored."""
    return to_config(_without_hydra(composed))


def refused_name(composed: DictConfig) -> str:
    """The name of the folder of a sweep's job that is refused; it does not outlive the sweep."""
    text = OmegaConf.to_yaml(_without_hydra(composed))
    return f"refused-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _without_hydra(composed: DictConfig) -> DictConfig:
    raw = copy.deepcopy(composed)
    with read_write(raw), open_dict(raw):
        raw.pop("hydra", None)
    return raw
