"""Accuracy through lm-eval, in the same process. lm-eval imports slowly: import this late."""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lm_eval import evaluate
from lm_eval.models.huggingface import HFLM

from dsnot_exp.utils.batch_size import halve_on_out_of_memory
from dsnot_exp.utils.quiet import silent_stderr

REMEDY = "use device=cpu"
BATCH = 64  # items per forward; they are short
SEEDS = {"python": 0, "numpy": 1234, "torch": 1234, "fewshot": 1234}  # lm-eval's defaults

Progress = Callable[[int], None]


class ProgressLM(HFLM):
    """lm-eval's model wrapper. Reports the number of requests and every answered request."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        batch_size: int,
        begin: Progress,
        advance: Progress,
        bos: bool | None = None,
    ) -> None:
        # Copy: lm-eval adds a padding token, which the saved tokenizer must not have.
        tokenizer = copy.deepcopy(tokenizer)
        if bos and not _starts_with_bos(tokenizer):
            tokenizer.add_bos_token = True
            tokenizer.update_post_processor()
        super().__init__(model, tokenizer=tokenizer, batch_size=batch_size, add_bos_token=bos)
        self.begin = begin
        self.cache_hook = _ProgressHook(advance)

    def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> Any:
        self.begin(len(requests))
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = True) -> Any:
        self.begin(len(requests))
        return super().loglikelihood_rolling(requests, disable_tqdm=True)

    def generate_until(self, requests: Any, disable_tqdm: bool = True) -> Any:
        self.begin(len(requests))
        return super().generate_until(requests, disable_tqdm=True)


class _ProgressHook:
    """Takes the place of lm-eval's answer cache, and reports every answer as progress."""

    def __init__(self, advance: Progress) -> None:
        self.advance = advance

    def add_partial(self, kind: str, request: Any, answer: Any) -> None:
        self.advance(1)


def zero_shot(
    model: Any,
    tokenizer: Any,
    task: Any,
    num_fewshot: int | None,
    limit: int | None,
    batch_size: int | None,
    begin: Progress = lambda total: None,
    advance: Progress = lambda steps: None,
    bos: bool | None = None,
) -> dict[str, dict[str, Any]]:
    """Evaluate one loaded task, group or tag.

    bos: whether requests start with the BOS token; None: as the tokenizer does
    Returns, for each task in it: name -> {acc, acc_stderr, acc_norm, acc_norm_stderr, version,
    items, num_fewshot, bos}.
    """
    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    for one in task["tasks"].values():
        _set_examples(one, num_fewshot)
    random.seed(SEEDS["python"])
    np.random.seed(SEEDS["numpy"])
    torch.manual_seed(SEEDS["torch"])

    def run(size: int) -> Any:
        lm = ProgressLM(model, tokenizer, size, begin, advance, bos)
        return evaluate(lm=lm, task_dict=task, limit=limit, log_samples=False)

    with silent_stderr():
        answers = halve_on_out_of_memory(batch_size or BATCH, run, REMEDY)
    starts = _starts_with_bos(tokenizer) if bos is None else bos
    return {name: _values(answers, name, starts) for name in answers["results"]}


def _starts_with_bos(tokenizer: Any) -> bool:
    return bool(tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id])


def _set_examples(task: Any, num_fewshot: int | None) -> None:
    """Set the number of few-shot examples as lm-eval's command does: a task set to 0 keeps 0."""
    own = task.get_config("num_fewshot")
    if num_fewshot is not None and own != 0:
        task.set_config(key="num_fewshot", value=num_fewshot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=SEEDS["fewshot"])


def _values(answers: dict[str, Any], name: str, bos: bool) -> dict[str, Any]:
    """The metrics of one task, with `acc,none` renamed to `acc`, and its version and counts."""
    metrics = {
        key.split(",")[0]: value
        for key, value in answers["results"][name].items()
        if "," in key and isinstance(value, float)
    }
    return {
        **metrics,
        "version": answers["versions"].get(name),
        "items": answers["n-samples"].get(name, {}).get("effective"),
        "num_fewshot": answers["n-shot"].get(name),
        "bos": bos,
    }
