"""What `dsnot_exp.evaluate` returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsnot_exp.data.tokens import Tokens
from dsnot_exp.evaluate.metrics import OfStage


class Evaluation(dict[str, Any]):
    """{"perplexity": {data set: value}, "zero_shot": {task: {acc, acc_stderr, ...}}}, the values as
    in result.json.

    failed: task -> error, for tasks that failed; the others were measured
    data: where the texts are from, with hashes, as in result.json
    warnings: what the user must know of the numbers, one sentence each
    """

    def __init__(
        self,
        found: Mapping[str, Any],
        failed: dict[str, str],
        data: dict[str, Any],
        warnings: list[str],
    ) -> None:
        super().__init__(found)
        self.failed, self.data, self.warnings = failed, data, warnings

    @classmethod
    def of(
        cls,
        datasets: Mapping[str, str],
        drawn: Mapping[str, Tokens],
        measured: OfStage,
        failed: dict[str, str],
    ) -> Evaluation:
        """datasets: by the caller's name; drawn: their tokens, by data set"""
        perplexities = {name: measured["perplexity"][data] for name, data in datasets.items()}
        zero_shot = {k: v for k, v in measured["zero_shot"].items() if k not in failed}
        warnings = [line for text in drawn.values() for line in text.warnings]
        data = {name: drawn[name_of].record() for name, name_of in datasets.items()}
        return cls({"perplexity": perplexities, "zero_shot": zero_shot}, failed, data, warnings)

    @property
    def perplexity(self) -> dict[str, float]:
        return dict(self["perplexity"])

    @property
    def zero_shot(self) -> dict[str, dict[str, Any]]:
        return dict(self["zero_shot"])
