"""Everything a run needs except the weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dsnot_exp.data.known_tokens import KnownTokens
from dsnot_exp.data.tokens import Tokens
from dsnot_exp.evaluate.tasks import Tasks
from dsnot_exp.models.report import Report
from dsnot_exp.models.source import Source
from dsnot_exp.run.sparse_models import NO_MODELS, SparseModels


@dataclass(frozen=True)
class Inputs:
    """The inputs of a run: where the model is, its configuration and tokenizer, lm-eval's tasks,
    and tokens."""

    source: Source
    config: Any
    tokenizer: Any
    tasks: Tasks
    calibration: Tokens | None  # None if no method needs it
    finetuning: Tokens | None
    evaluation: dict[str, Tokens]
    task_bos: bool | None  # whether requests start with BOS; None: as the tokenizer does
    checked: Report | None  # the report of loading the weights; None if they are checked later
    state_bytes: int  # upper bound of the state on disk
    training_bytes: int = 0  # of the device, for the training of a block, beside its weights
    kept: SparseModels = NO_MODELS  # what earlier runs have kept
    kept_bytes: int = 0  # upper bound of what this run keeps on disk for others

    @property
    def calibrated(self) -> Tokens | KnownTokens | None:
        """What is known of the calibration tokens: they are not drawn where nothing needs them."""
        return self.calibration or self.kept.tokens

    def initializer_only(self) -> Inputs:
        """The inputs of the `pruned` stage."""
        calibration = self.calibration
        if calibration is not None:
            calibration = replace(calibration, held_out=None)
        kept = self.kept.without_held_out()
        return replace(self, calibration=calibration, kept=kept, finetuning=None)

    @property
    def warnings(self) -> list[str]:
        """What the user must know about the tokens, one sentence each."""
        texts = [self.calibrated, self.finetuning, *self.evaluation.values()]
        found = [line for text in texts if text is not None for line in text.warnings]
        return list(dict.fromkeys(found))  # two data sets may warn of the same tokenizer

    def records(self) -> dict[str, Any]:
        """The `data` field of result.json."""
        return {
            "calibration": self.calibrated.record() if self.calibrated else None,
            "finetune": self.finetuning.record() if self.finetuning else None,
            "evaluation": {name: text.record() for name, text in self.evaluation.items()},
        }
