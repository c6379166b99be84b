"""`dsnot_exp.prune`: makes a model in memory sparse, with the code of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from dsnot_exp.api.arguments import GIVEN, ArgumentError, config_of, named_arguments, names, switch
from dsnot_exp.api.data import data_set
from dsnot_exp.api.fit import refuse_other_objects, refuse_weights
from dsnot_exp.api.inputs import phase_of, request, source_of, warn
from dsnot_exp.api.methods import Default, chosen
from dsnot_exp.api.own import own_methods, with_own
from dsnot_exp.api.pruning import pruned
from dsnot_exp.api.sparse import Sparse
from dsnot_exp.api.undisturbed import undisturbed
from dsnot_exp.data.given import Given
from dsnot_exp.methods import registry
from dsnot_exp.models.loading import refuse_nonfinite_weights
from dsnot_exp.run.plan import Plan, make_plan
from dsnot_exp.utils.console import Display
from dsnot_exp.utils.distributed import ALONE

SAMPLES = 128
WANDA, DSNOT, UNIFORM, NONE = map(Default, ("wanda", "dsnot", "uniform", "none"))


def prune(
    model: Any,
    tokenizer: Any = None,
    *,
    prune: Any = WANDA,
    refine: Any = DSNOT,
    sparsity: float | str | None = None,
    pattern: str = "unstructured",
    allocate: Any = UNIFORM,
    reconstruct: Any = NONE,
    method: str | None = None,
    calibration: Any = "c4",
    samples: int | None = None,
    seqlen: int | None = None,
    held_out: int | None = None,
    target: tuple[float, float] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    dense: str | Sequence[str] = (),
    blocks: str | None = None,
    relative_error: bool | str = "sample",
    min_tokens: int = 32,
    bos: bool | str = "auto",
    states: str = "auto",
    field: str = "text",
    plugins: str | Sequence[str] = (),
    progress: bool = True,
) -> Sparse:
    """Prune a causal language model of transformers, in place, and refine its masks.

    The model object itself becomes sparse. If anything fails, or on Ctrl-C, it is put back bit for
    bit; for this, the values that change are kept in memory until the end (of a mask of 60 % zeros
    0.66 of the blocks' weights, in their dtype; with a method that moves weights, all of them).
    The same options give the same masks as `python -m dsnot_exp`.

    model, tokenizer: of transformers; without a tokenizer, calibration is token ids or none
    prune, refine, allocate, reconstruct: a name, such as "wanda"; a name with options, such as
        dict(name="dsnot", max_cycles=5); an object, such as DSnoT(max_cycles=5), of a class of your
        own too (docs/extending.md has the protocols); or None for none
    sparsity: share of zeros in each layer, in [0, 1), or "2:4"; None: 0.5, or as `pattern` implies
    pattern: "unstructured", or N:M, such as "2:4"
    method: a preset, "best", "fast" or "dsnot"; it sets what is not given here
    calibration: the name of a corpus, the path of a file, a list of texts (one is read as a .txt
        file, several as the documents of a .jsonl file), or token ids (sequences, tokens)
    samples: calibration sequences; None: 128, of token ids all
    seqlen: tokens per sequence; None: 2048 or as many as the model has positions, of token ids the
        length of their rows
    held_out: more sequences, for what is chosen on them; None: one per 16 samples
    target: (alpha, beta) of the corrected target, from 0 to 1 each; None: (0, 0)
    batch_size: sequences per forward; None: about 4096 tokens
    seed: of the calibration sequences that are drawn, and of random methods
    device: that computes; None: the model's. The model is back on its own device at the end
    dense: globs of layers to leave dense
    blocks: name of the list of blocks, if it is not found
    relative_error: per layer, on a "sample" of the tokens, on all (True), or not (False)
    min_tokens: experts that saw fewer tokens are pruned by magnitude and not refined
    bos: whether sequences start with BOS; "auto": if the model needs it
    states: place of the hidden states: "auto", "device", "memory" or "disk"
    field: of a JSON file or column of a parquet file, to read
    plugins: Python files with methods, which can then be chosen by name
    progress: print lines and bars

    Raises ArgumentError, which is a ValueError, for a wrong argument, before anything is computed;
    RunError if the computation fails.
    """
    data = data_set("calibration", calibration)
    given = {GIVEN: data} if isinstance(data, Given) else {}
    with named_arguments():
        refuse_other_objects(model)
        refuse_weights(model, prunes=True)
        registry.use_files(names("plugins", plugins), anew=True)
        groups = {"prune": prune, "refine": refine, "allocate": allocate}
        groups |= {"reconstruct": reconstruct}
        values = {
            "model.name": type(model).__name__,
            "model.path": source_of(model).path,
            "model.dense": names("dense", dense),
            "model.blocks": blocks,
            "sparsity": sparsity,
            "pattern": pattern,
            "calib.dataset": GIVEN if given else data,
            "calib.samples": SAMPLES if samples is None else samples,
            "calib.seqlen": seqlen,
            "calib.held_out": held_out,
            "calib.batch_size": batch_size,
            "calib.min_tokens": min_tokens,
            "calib.bos": switch(bos),
            "calib.states": states,
            "calib.field": field,
            "eval.name": "none",
            "relative_error": switch(relative_error),
            "seed": seed,
            "plugins": names("plugins", plugins),
            "device": str(model.device if device is None else device),
            **_targets(target),
        }
        plan = _plan(groups, method, values, given)
        with undisturbed(model, progress), Display() as display:
            every = samples is None
            requested = request(model, tokenizer, plan, given, every, phase_of(display))
            refuse_nonfinite_weights(model)
            sparse = pruned(model, tokenizer, requested, display)
    warn(sparse.warnings, 2)
    return sparse


def _plan(
    groups: Mapping[str, Any],
    preset: str | None,
    values: Mapping[str, Any],
    given: Mapping[str, Given],
) -> Plan:
    """groups: the methods as they were given; values: the other options"""
    with own_methods(groups) as own:
        config = config_of({**chosen(groups, preset), **values})
        plan = replace(make_plan(config, given), ranks=ALONE)
    if plan.recipe is None:
        raise ArgumentError("prune=None: no pruner; choose one, such as prune='wanda'")
    return replace(plan, recipe=with_own(plan.recipe, own))


def _targets(target: Any) -> dict[str, Any]:
    if target is None:
        return {}
    try:
        alpha, beta = target
    except (TypeError, ValueError):
        raise ArgumentError(
            f"target={target!r}: expected (alpha, beta), two numbers from 0 to 1"
        ) from None
    return {"calib.target.alpha": alpha, "calib.target.beta": beta}
