"""Everything a run found, from which result.json is assembled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from dsnot_exp.config import Config
from dsnot_exp.walk.record import BlockFit, Choice, LayerRecord


@dataclass(frozen=True)
class Outcome:
    """config: resolved; revision: the commit of a model from the hub
    facts: of the model, such as `parameters` and `prunable_parameters`; block_weights: entries of
        all matrices in the blocks, dense ones included
    records, notes, masks_sha256: of the pruned layers; empty or None with prune=none
    zeros: zeros and weights of each layer, counted where nothing was pruned
    choices: of the refinement budget, by block, if it was left to choose
    targets: the sparsity or N:M that the allocator gave to each layer
    fits: of the blocks' kept weights, if they were trained
    metrics: perplexity, zero_shot -> data set or task -> stage -> value
    failed: tasks that failed, with the error; reused: data sets and tasks whose dense value an
        earlier run measured; reused_stages: stages that an earlier run measured
    measured_earlier: by stage, data sets and tasks that another run measured of the same sparse
        model; masks: where they are kept, None if they are not
    data: origin and hashes of the tokens; account: seconds, memory and restarts
    finetuned: facts about the training; None with finetune=none
    plugins: by method, the file or the package of those that are not ours
    computed: how the sums were grouped and what computed them; rounding depends on it
    warnings: what the user must know before using the numbers, one sentence each
    """

    config: Config
    device: torch.device
    revision: str | None
    facts: dict[str, Any]
    block_weights: int
    metrics: dict[str, dict[str, dict[str, Any]]]
    failed: dict[str, str]
    reused: list[str]
    data: dict[str, Any]
    account: dict[str, Any]
    computed: dict[str, Any] = field(default_factory=dict)
    reused_stages: list[str] = field(default_factory=list)
    records: list[LayerRecord] = field(default_factory=list)
    zeros: dict[str, tuple[int, int]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    choices: list[Choice] = field(default_factory=list)
    targets: dict[str, float | str] = field(default_factory=dict)
    fits: list[BlockFit] = field(default_factory=list)
    masks_sha256: str | None = None
    masks: dict[str, Any] | None = None
    measured_earlier: dict[str, list[str]] = field(default_factory=dict)
    finetuned: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)
    plugins: dict[str, dict[str, Any]] = field(default_factory=dict)
