"""Random command lines: options with valid and invalid values mixed.

GOOD values are accepted whatever stands beside them, BAD ones are refused whatever stands beside
them, and for SOFT ones it depends on the rest of the command.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

COUNT = ["0", "-1", "abc", "1.5", "[1]", "nan"]
CHOICE = ["nosuch", "[]", "''"]

GOOD: dict[str, list[str]] = {
    "prune": ["wanda", "magnitude", "sparsegpt", "ria", "alps"],
    "refine": ["dsnot", "dsnot_official", "swaps", "moments", "none"],
    "reconstruct": ["none", "cg", "admm", "lstsq"],
    "sparsity": ["0", "0.3", "0.5", "0.625", "0.99", "5e-1", "null"],
    "seed": ["0", "7", "123456789"],
    "calib.samples": ["1", "2", "8"],
    "calib.seqlen": ["2", "8", "24"],
    "calib.batch_size": ["1", "3", "null"],
    "calib.states": ["auto", "device", "memory", "disk"],
    "calib.min_tokens": ["1", "32"],
    "calib.held_out": ["1", "2", "null"],
    "eval.seqlen": ["2", "16", "null"],
    "eval.batch_size": ["1", "5", "null"],
    "eval.baselines": ["[]", "[dense]", "[pruned]", "[dense,pruned]"],
    "eval.streaming": ["auto", "true", "false"],
    "model.streaming": ["auto", "true", "false"],
    "model.dtype": ["auto", "float32", "bfloat16"],
    "model.max_cycles": ["auto", "3", "0.1"],
    "relative_error": ["sample", "true", "false"],
    "resume": ["true", "false", "never"],
    "save": ["true", "false"],
    "rerun": ["true", "false"],
    "device": ["cpu", "auto"],
    "wandb.mode": ["disabled"],
    "calib.bos": ["auto", "false"],
    "eval.bos": ["auto", "false"],
    "calib.field": ["text"],
}
SOFT: dict[str, list[str]] = {
    "allocate": ["uniform", "fisher", "owl", "alpha", "linear", "auto", "search", "file"],
    "allocate.most": ["0.95", "0.7", "0", "1"],  # allocate=uniform has no options
    "allocate.by": ["matrix", "block", "row"],
    "allocate.samples": ["1", "3", "0"],
    "allocate.step": ["0", "1", "-1"],
    "allocate.spread": ["0", "0.5", "nan"],
    "allocate.generations": ["1", "2"],
    "prune": ["none"],  # then there is nothing to refine
    "pattern": ["unstructured", "2:4", "4:8", "1:2", "2:3", "1:5", "2:64"],
    "calib.samples": ["9", "100"],  # more than a token file holds
    "calib.seqlen": ["64", "null", "25"],
    "model.dense": ["[]", "[self_attn]", "[nosuch]"],
    "model.dtype": ["float16"],
    "refine.max_cycles": ["auto", "0", "1", "5", "50", "0.1"],  # refine=none has no options
    "refine.update_threshold": ["0", "0.1", "1e9"],
    "refine.variance_power": ["0", "1", "0.5"],
    "refine.grow": ["mean", "magnitude", "wanda", "random"],
    "refine.prune": ["wanda", "magnitude", "random"],
    "refine.variance": ["sequence", "pooled"],
    "refine.used_up": ["run_on", "stop"],
    "refine.skip": ["[]", "[nosuch]"],
    "refine.guard": ["true", "false", "null"],
    "refine.max_swaps": ["auto", "0", "3", "0.1", "-1", "1.5", "nan", "many"],
    "refine.pool": ["1", "4", "999", "0"],
    "refine.damping": ["0", "0.1", "-1", "inf"],
    "reconstruct.damping": ["0", "0.1", "-1", "nan"],  # reconstruct=none has no options
    "reconstruct.steps": ["1", "12", "0"],
    "reconstruct.rho": ["0.1", "5", "0", "nan"],
    "prune.scope": ["row", "matrix", "auto"],
    "prune.block": ["16", "128", "0", "-1"],
    "calib.bos": ["true"],  # refused for a token file without BOS
    "eval.bos": ["true"],
    "calib.field": ["title"],
    "prune.power": ["0", "0.5", "-1", "nan"],
    "prune.schedule": ["short", "full", "long"],
    "prune.iterations": ["1", "7", "null", "0"],
    "prune.penalty": ["0.1", "3", "0", "nan"],
    "prune.cg_steps": ["0", "3", "-1"],
    "prune.damping": ["0.01", "1", "0", "-1", "nan"],
}
BAD: dict[str, list[str]] = {
    "prune": ["wnada", "null", "true", "5"],
    "refine": ["false", "dsnt", "null", "1"],
    "allocate": CHOICE,
    "reconstruct": CHOICE,
    "finetune": ["lorra", "null"],
    "sparsity": ["1", "1.0", "-0.1", "nan", "inf", "50%", "abc", "true", "1e9", "[0.5]"],
    "pattern": ["4:2", "0:4", "2/4", "2:", ":4", "-1:4", "abc", "2:4:8", "null"],
    "seed": ["abc", "1.5", "null", "[]"],
    "calib": ["nosuch", "null"],
    "calib.samples": [*COUNT, "null"],
    "calib.seqlen": [*COUNT, "1", "65"],
    "calib.batch_size": COUNT,
    "calib.states": ["ram", "null"],
    "calib.min_tokens": COUNT,
    "calib.held_out": COUNT,
    "calib.dataset": ["/nosuch/file.txt", "nosuch", "null", "/etc"],
    "eval": ["nosuch", "null"],
    "eval.seqlen": [*COUNT, "1", "99"],
    "eval.batch_size": COUNT,
    "eval.limit": COUNT,
    "eval.num_fewshot": ["-1", "abc"],
    "eval.baselines": ["[raw]", "dense", "null", "[refined]"],
    "eval.perplexity": ["[nosuch]", "[/nosuch.txt]", "null"],
    "eval.tasks": ["[nosuch_task]"],
    "eval.streaming": ["maybe", "null"],
    "model": ["nosuch", "/nosuch/folder", "org/name"],
    "model.path": ["/nosuch/folder", "/etc", "null"],
    "model.streaming": ["maybe", "null"],
    "model.dtype": ["int8", "float64", "null"],
    "model.blocks": ["nosuch", "model"],
    "model.max_cycles": ["abc", "[]"],
    "relative_error": ["maybe", "null"],
    "calib.bos": ["yes", "1", "null"],
    "eval.bos": ["maybe"],
    "calib.field": ["null", "[text]"],
    "resume": ["3", "null"],
    "save": ["maybe", "null", "2"],
    "device": ["tpu", "cuda:7", "null", "cpu:0:0"],
    "wandb.mode": ["loud", "null"],
    "refine.max_cycles": ["-1", "1.5", "nan", "inf", "abc", "null", "true"],
    "refine.update_threshold": ["-1", "nan", "abc", "null"],
    "refine.variance_power": ["nan", "inf", "abc"],
    "refine.grow": CHOICE,
    "refine.prune": CHOICE,
    "modle": ["local"],
    "sparsty": ["0.5"],
    "eval.taks": ["[a]"],
    "calib.dataset.name": ["c4"],
    "+extra": ["1"],
    "++calib.extra": ["1"],
}
ALONE = ["sparsity", "--frobnicate", "=", "=0.5", "sparsity==0.5", "[", "calib.samples=", "~nosuch"]


@dataclass(frozen=True)
class Words:
    """One command line. `refused`: whether it must be; None: either is right"""

    family: str
    options: list[str]
    refused: bool | None
    sweep: bool = False
    chosen: dict[str, str] = field(default_factory=dict)


def draw(rng: random.Random, families: list[str]) -> Words:
    """Most commands have no bad value or one."""
    chosen: dict[str, str] = {}
    soft = False
    for _ in range(rng.randint(0, 7)):
        pool = GOOD if rng.random() < 0.7 else SOFT
        key = rng.choice(sorted(pool))
        if key not in chosen:
            chosen[key] = rng.choice(pool[key])
            soft = soft or pool is SOFT
    refused: bool | None = None if soft else False
    alone: list[str] = []
    if rng.random() < 0.4:
        refused = True
        if rng.random() < 0.1:
            alone = [rng.choice(ALONE)]
            chosen.pop(alone[0].partition("=")[0], None)  # the last of two would count
        else:
            key = rng.choice(sorted(BAD))
            chosen[key] = rng.choice(BAD[key])
    options = [f"{key}={value}" for key, value in chosen.items()] + alone
    rng.shuffle(options)
    sweep = refused is False and rng.random() < 0.1
    if sweep:
        options = [word for word in options if not word.startswith(("prune=", "sparsity="))]
        options += ["prune=wanda,magnitude", "sparsity=0.25,0.5"]
        options.insert(rng.randrange(len(options) + 1), "-m")
    return Words(rng.choice(families), options, refused, sweep, chosen)
