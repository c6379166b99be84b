"""All evaluations of a model at one stage of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from dsnot_exp.config import EvalConfig
from dsnot_exp.data.tokens import Tokens
from dsnot_exp.evaluate.metrics import Metrics
from dsnot_exp.evaluate.perplexity import perplexity
from dsnot_exp.evaluate.perplexity_by_block import REMEDY, perplexity_by_block
from dsnot_exp.evaluate.store import Store
from dsnot_exp.evaluate.tasks import Tasks, data_of
from dsnot_exp.evaluate.unfinished import NOTHING, Unfinished
from dsnot_exp.models.placement import Placed
from dsnot_exp.utils.batch_size import fitting
from dsnot_exp.utils.console import Display, say
from dsnot_exp.utils.distributed import ALONE, Ranks
from dsnot_exp.walk.hidden_states import AUTO, Storage
from dsnot_exp.walk.sequences import begin

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Suite:
    """Evaluates a model at every stage and collects the results.

    dense, sparse(stage): caches of measurements
    task_bos: whether the tasks' requests start with BOS; None: as the tokenizer does
    unfinished: where a perplexity that depends on these values keeps its finished batches
    storage: where the hidden states are kept if perplexity is computed block by block
    before: what the model is before it is pruned: dense, or sparse already
    batch: sequences per forward for perplexity; None before the first
    failed: task -> error, for tasks that failed at some stage; the other tasks still run
    reused: data sets and tasks whose dense value was measured by an earlier run
    shared: by stage, measurements of the same sparse model by other runs
    taken: by stage, data sets and tasks whose value comes from there
    on_value: gets each measurement: stage, perplexity or zero_shot, name, value
    """

    options: EvalConfig
    texts: dict[str, Tokens]
    tasks: Tasks
    tokenizer: Any
    dense: Store
    sparse: Callable[[str], Store]
    ranks: Ranks
    display: Display
    unfinished: Callable[[dict[str, Any]], Unfinished] = lambda key: NOTHING
    storage: Storage = AUTO
    task_bos: bool | None = None
    metrics: Metrics = field(default_factory=Metrics)
    before: str = "dense"
    batch: int | None = None
    failed: dict[str, str] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)
    shared: dict[str, Store] = field(default_factory=dict)
    taken: dict[str, list[str]] = field(default_factory=dict)
    on_value: Callable[[str, str, str, Any], None] = lambda *measured: None

    def __call__(self, model: Placed, stage: str) -> None:
        store = self.dense if stage == "dense" else self.sparse(stage)
        for name, text in self.texts.items():
            value = self._perplexity(model, stage, text, store)
            self.metrics.add("perplexity", name, stage, value)
            self.on_value(stage, "perplexity", name, value)
            log.info("perplexity of %s, %s: %.4f", name, stage, value)
        if not self.tasks:
            return
        found = self._accuracy(model, stage, store) if self.ranks.first else {}
        found, self.failed = self.ranks.of_first((found, self.failed))
        for task, values in found.items():
            self.metrics.add("zero_shot", task, stage, values)
            log.info("%s, %s: %s", task, stage, values)

    def _accuracy(self, model: Placed, stage: str, store: Store) -> dict[str, dict[str, Any]]:
        """Accuracy of every task, computed by this process alone."""
        alone = replace(store, ranks=ALONE)
        found: dict[str, dict[str, Any]] = {}
        with model.callable() as called:
            for name in self.tasks:
                values = self._task(called, name, stage, alone)
                for task, value in values.items():  # of a group of tasks, one each
                    self.on_value(stage, "zero_shot", task, value)
                found |= values
        return found

    def _perplexity(self, model: Placed, stage: str, text: Tokens, store: Store) -> float:
        ids = text.ids[self.ranks.share(len(text.ids))]
        count, seqlen = ids.shape
        vocabulary = model.model.get_input_embeddings().num_embeddings
        batch = self.options.batch_size or fitting(seqlen, vocabulary, model.device)
        self.batch, asked = batch, self.options.streaming
        streams = asked == "true" or (asked == "auto" and not model.whole)
        what = {"perplexity": text.record()["tokens_sha256"], "seqlen": seqlen}
        what |= {"batch": batch, "streams": streams}
        unfinished = self.unfinished({**store.common, **what, "stage": stage})

        def measure() -> float:
            detail = f"{text.dataset}, {self.shown(stage)}"
            with self.display.phase("perplexity", count, detail) as display:
                if streams:
                    display.expect(count * len(model.blocks[1]))
                    with begin(model, ids, batch, self.storage, remedy=REMEDY) as sequences:
                        return perplexity_by_block(sequences, display.advance, self.ranks)
                with model.callable() as called:
                    return perplexity(called, ids, batch, display.advance, self.ranks, unfinished)

        value = self._cached(store, stage, what, text.dataset, measure)
        unfinished.clear()
        return value

    def _task(self, model: Any, name: str, stage: str, store: Store) -> dict[str, Any]:
        options, loaded = self.options, self.tasks[name]
        from dsnot_exp.evaluate.zero_shot import zero_shot  # slow import

        def measure() -> dict[str, Any]:
            with self.display.phase("zero-shot", 1, f"{name}, {self.shown(stage)}") as display:
                return zero_shot(
                    model,
                    self.tokenizer,
                    loaded,
                    options.num_fewshot,
                    options.limit,
                    options.batch_size,
                    display.expect,
                    display.advance,
                    self.task_bos,
                )

        what = {"task": name, "data": data_of(loaded), "limit": options.limit}
        what |= {"num_fewshot": options.num_fewshot, "batch": options.batch_size}
        what |= {} if self.task_bos is None else {"bos": self.task_bos}
        try:
            return self._cached(store, stage, what, name, measure)
        except Exception as error:  # a failed task must not stop the others
            log.exception("%s, %s", name, stage)
            reason = (str(error).strip().splitlines() or [""])[0][:200]
            self.failed[name] = f"{type(error).__name__}: {reason}"
            say(f"eval.tasks={name}, {stage}: failed ({self.failed[name]})")
            return {name: {"error": self.failed[name]}}

    def _cached(
        self, store: Store, stage: str, what: dict[str, Any], name: str, measure: Callable[[], T]
    ) -> T:
        """What the run itself has measured before, or another run, or what `measure` returns."""
        shared = replace(self.shared.get(stage, Store(None)), ranks=store.ranks)

        def take() -> T:
            value, taken = shared.get_or(what, measure)
            if taken:
                self.taken.setdefault(stage, []).append(name)
            return value

        value, reused = store.get_or(what, take)
        if reused and store.folder == self.dense.folder:
            self.reused.append(name)
        return value

    def shown(self, stage: str) -> str:
        """What a stage is called on the screen."""
        return self.before if stage == "dense" else stage
