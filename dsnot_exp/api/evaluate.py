"""`dsnot_exp.evaluate`: measures a model in memory, with the code of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from dsnot_exp.api.arguments import ArgumentError, config_of, named_arguments, names, switch
from dsnot_exp.api.data import data_sets, row_length
from dsnot_exp.api.evaluation import Evaluation
from dsnot_exp.api.fit import refuse_other_objects, refuse_weights
from dsnot_exp.api.inputs import phase_of, source_of, texts_of, warn
from dsnot_exp.api.undisturbed import undisturbed
from dsnot_exp.evaluate.store import Store
from dsnot_exp.evaluate.suite import Suite
from dsnot_exp.evaluate.tasks import Tasks, load_tasks, refuse_tokenizer_without_marks
from dsnot_exp.models.loading import positions
from dsnot_exp.models.placement import Placed, move, weight_bytes
from dsnot_exp.run.check_model import settle_lengths
from dsnot_exp.run.plan import Plan, make_plan
from dsnot_exp.utils import accelerator
from dsnot_exp.utils.console import Display
from dsnot_exp.utils.distributed import ALONE

STAGE = "model"  # the only one
DENSE = {group: {"name": "none"} for group in ("prune", "refine", "reconstruct")}


def evaluate(
    model: Any,
    tokenizer: Any = None,
    *,
    perplexity: str | Sequence[str] | Mapping[str, Any] = (),
    tasks: str | Sequence[str] = (),
    seqlen: int | None = None,
    blocks: int | None = None,
    limit: int | None = None,
    num_fewshot: int | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    bos: bool | str = "auto",
    field: str = "text",
    progress: bool = True,
) -> Evaluation:
    """Measure a causal language model of transformers: perplexity, and accuracy on lm-eval's tasks.
    The model is not changed. The same options give the same numbers as `python -m dsnot_exp`.

    model, tokenizer: of transformers; without a tokenizer, perplexity is of token ids
    perplexity: names of corpora or paths of files; or, by a name of your own, texts or token ids
        (sequences, tokens), such as {"mine": texts}
    tasks: names of lm-eval tasks
    seqlen: tokens per sequence; None: 2048, or as many as the model has positions; of token ids
        alone the length of their rows
    blocks: sequences per text, the first ones; None: all
    limit: items per task; None: all
    num_fewshot: examples before an item; None: the task's default, mostly 0
    batch_size: per forward; None: sequences of about 4096 tokens, 64 items
    device: that computes; None: the model's. The model is back on its own device at the end
    bos: whether sequences start with BOS; "auto": if the model needs it
    field: of a JSON file or column of a parquet file, to read
    progress: print lines and bars

    Raises ArgumentError, which is a ValueError, for a wrong argument, before anything is computed;
    RunError if the computation fails. A task that fails is in `failed`; the others still run.
    """
    with named_arguments():
        refuse_other_objects(model)
        refuse_weights(model, prunes=False)
        datasets, given = data_sets(perplexity)
        asked = names("tasks", tasks)
        if not datasets and not asked:
            raise ArgumentError("perplexity, tasks: nothing to measure; give one of them")
        values: dict[str, Any] = DENSE | {
            "allocate": {"name": "uniform"},
            "model.name": type(model).__name__,
            "model.path": source_of(model).path,
            "eval.name": "given",
            "eval.perplexity": list(datasets.values()),
            "eval.tasks": asked,
            "eval.seqlen": row_length(datasets, given) if seqlen is None else seqlen,
            "eval.blocks": blocks,
            "eval.limit": limit,
            "eval.num_fewshot": num_fewshot,
            "eval.batch_size": batch_size,
            "eval.bos": switch(bos),
            "eval.field": field,
            "device": str(model.device if device is None else device),
        }
        plan = replace(make_plan(config_of(values), given), ranks=ALONE)
        plan = settle_lengths(plan, positions(model.config))
        with undisturbed(model, progress), Display() as display:
            loaded = _tasks(tokenizer, plan)
            texts = texts_of(model, tokenizer, plan, given, phase_of(display))
            drawn = texts.evaluation()
            bos_of_tasks = texts.bos("eval").of_tasks
            suite = Suite(
                plan.config.eval, drawn, loaded, tokenizer, Store(None), lambda stage: Store(None),
                ALONE, display, task_bos=bos_of_tasks, before=STAGE,
            )  # fmt: skip
            _measure(model, plan, suite)
    found = Evaluation.of(datasets, drawn, suite.metrics.of(STAGE), suite.failed)
    warn(found.warnings, 2)
    return found


def _tasks(tokenizer: Any, plan: Plan) -> Tasks:
    asked = plan.config.eval.tasks
    if not asked:
        return {}
    if tokenizer is None:
        raise ArgumentError("tokenizer=None: tasks are text; give the model's tokenizer")
    refuse_tokenizer_without_marks(tokenizer, plan.config.model.path)
    return load_tasks(asked)


def _measure(model: Any, plan: Plan, suite: Suite) -> None:
    """On the device that computes. A model that accelerate has spread stays where it is."""
    home, spread = model.device, len({p.device for p in model.parameters()}) > 1
    device = home if spread else plan.device
    if device != home and accelerator.is_accelerator(device):
        free = accelerator.free_memory(device)
        if (needed := weight_bytes(model)) > free:
            raise ArgumentError(
                f"device={device}: the model takes {needed:,} bytes, and {free:,} are free; leave "
                "device out"
            )
    try:
        if device != home:
            move(model, device)
        suite(Placed(model, ("", nn.ModuleList()), device), STAGE)
    finally:
        if device != home:
            move(model, home)
