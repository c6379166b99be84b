"""Everything a run found, from which result.json is assembled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from dsnot_exp.config import Config
from dsnot_exp.walk.record import LayerRecord


@dataclass(frozen=True)
class Outcome:
    """config: resolved; revision: the commit of a model from the hub
    facts: `parameters` and `prunable_parameters` of the model; block_weights: entries of all
        matrices in the blocks, dense ones included
    records, notes, masks_sha256: of the pruned layers; empty or None with prune=none
    metrics: perplexity, zero_shot -> data set or task -> stage -> value
    failed: tasks that failed, with the error; reused: data sets and tasks whose dense value an
        earlier run measured
    data: origin and hashes of the tokens; account: seconds, memory and restarts
    finetuned: facts about the training; None with finetune=none
    """

    config: Config
    device: torch.device
    revision: str | None
    facts: dict[str, int]
    block_weights: int
    metrics: dict[str, dict[str, dict[str, Any]]]
    failed: dict[str, str]
    reused: list[str]
    data: dict[str, Any]
    account: dict[str, Any]
    records: list[LayerRecord] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    masks_sha256: str | None = None
    finetuned: dict[str, Any] | None = None
