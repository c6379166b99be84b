"""Loads the tokens of a run: for calibration, fine-tuning and evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dsnot_exp.data.bos import Bos, bos_of
from dsnot_exp.data.given import Given
from dsnot_exp.data.load import ON_DISK, calibration_tokens, evaluation_tokens
from dsnot_exp.data.progress import Phase
from dsnot_exp.data.tokens import Tokens, refuse_foreign_tokens
from dsnot_exp.run.plan import Plan


@dataclass(frozen=True)
class Texts:
    """What the tokens of a run depend on.

    model: the model's configuration
    tokenizer: None if every data set is tokenised
    phase: shows progress
    given: data sets that the caller holds in memory, by name
    """

    plan: Plan
    model: Any
    tokenizer: Any
    phase: Phase
    given: Mapping[str, Given] = field(default_factory=dict)

    def bos(self, group: str) -> Bos:
        """`group`: calib or eval"""
        asked = getattr(self.plan.config, group).bos
        return bos_of(f"{group}.bos", asked, self.model, self.tokenizer)

    def calibration(self) -> Tokens | None:
        """None if no method needs it."""
        if not self.plan.needs_calibration:
            return None
        calib = self.plan.config.calib
        assert calib.seqlen is not None
        held_out = self.plan.held_out
        return self._drawn("calib", calib.dataset, calib.samples, calib.seqlen, held_out)

    def finetuning(self) -> Tokens | None:
        options = self.plan.finetuner
        if options is None:
            return None
        assert options.seqlen is not None
        return self._drawn("finetune", options.dataset, options.sequences, options.seqlen)

    def evaluation(self) -> dict[str, Tokens]:
        evaluation = self.plan.config.eval
        assert evaluation.seqlen is not None
        texts: dict[str, Tokens] = {}
        for name in evaluation.perplexity:
            tokens = evaluation_tokens(
                name,
                evaluation.seqlen,
                self.tokenizer,
                field=evaluation.field,
                bos=self.bos("eval"),
                phase=self.phase,
                given=self.given.get(name, ON_DISK),
            )
            texts[name] = self._known(f"eval.perplexity={name}", tokens.first(evaluation.blocks))
        return texts

    def _drawn(
        self, group: str, dataset: str, samples: int, seqlen: int, held_out: int = 0
    ) -> Tokens:
        """Sequences for the option group `group`. Text for fine-tuning is read as text for
        calibration is."""
        tokens = calibration_tokens(
            dataset,
            samples,
            seqlen,
            self.plan.config.seed,
            self.tokenizer,
            group,
            held_out=held_out,
            field=self.plan.config.calib.field,
            bos=self.bos("calib"),
            phase=self.phase,
            given=self.given.get(dataset, ON_DISK),
        )
        return self._known(f"{group}.dataset={dataset}", tokens)

    def _known(self, key: str, tokens: Tokens) -> Tokens:
        """`tokens`, if the model's vocabulary contains them."""
        vocabulary = self.model.get_text_config().vocab_size
        for ids in (tokens.ids, tokens.held_out):
            if ids is not None:
                refuse_foreign_tokens(key, ids, vocabulary)
        return tokens
