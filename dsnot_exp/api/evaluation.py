"""What `dsnot_exp.evaluate` returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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

    @property
    def perplexity(self) -> dict[str, float]:
        return dict(self["perplexity"])

    @property
    def zero_shot(self) -> dict[str, dict[str, Any]]:
        return dict(self["zero_shot"])
