"""Which runs may be ranked against each other: one model, calibration, text and sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dsnot_exp.config import WITHOUT_EFFECT
from dsnot_exp.report.composition import TARGET
from dsnot_exp.report.runs import Run
from dsnot_exp.report.tables.groups import FREE, ONLY_ACCURACY
from dsnot_exp.results.method_names import GROUPS

WHERE_ONLY = {"calib.states", "model.streaming"}  # where hidden states and weights are kept
OFF: tuple[object, ...] = (None, [], "")
OF_WEIGHTS = ("model.name", "model.path", "model.revision", "model.dtype")


@dataclass(frozen=True)
class Setting:
    """What the runs of one ranking share: all options but those of the composition."""

    text: str
    budget: str
    shared: tuple[tuple[str, str], ...]


def by_setting(runs: Sequence[Run], text: str) -> dict[Setting, list[Run]]:
    """The runs that may be ranked against each other, by what they share.

    text: the data set on which they were evaluated
    """
    scored = [run for run in runs if run.result["metrics"]["zero_shot"]]
    asked = [{str(run.options.get(key)) for run in scored} for key in sorted(ONLY_ACCURACY)]
    free = FREE | WHERE_ONLY | (set() if any(len(a) > 1 for a in asked) else ONLY_ACCURACY)
    found: dict[Setting, list[Run]] = {}
    for run in runs:
        # An option that is off is as one that an older version did not have.
        shared = [(k, str(v)) for k, v in run.options.items() if _matters(k, free) and v not in OFF]
        shared += [("tokens", str(run.seqlen)), ("text", _sha(run, "evaluation", text))]
        found.setdefault(Setting(text, run.budget, tuple(sorted(shared))), []).append(run)
    return {
        setting: members
        for rough, together in found.items()
        for setting, members in _same_calibration(rough, together)
    }


def _matters(key: str, free: set[str]) -> bool:
    group = key.split(".")[0]
    return not (key in free or key in TARGET or group in GROUPS or group in WITHOUT_EFFECT)


def _same_calibration(setting: Setting, runs: list[Run]) -> list[tuple[Setting, list[Run]]]:
    """The runs by the content of their calibration, which depends on the seed. If a file was
    changed between them, one seed has two contents; then no two contents share a ranking."""
    contents: dict[str, set[str]] = {}
    for run in runs:
        content = _sha(run, "calibration")
        if content:  # magnitude alone is not calibrated
            contents.setdefault(str(run.options.get("seed")), set()).add(content)
    if all(len(found) == 1 for found in contents.values()):
        return [(setting, runs)]
    split: dict[str, list[Run]] = {}
    for run in runs:
        split.setdefault(_sha(run, "calibration"), []).append(run)
    return [
        (Setting(setting.text, setting.budget, (*setting.shared, ("calibration", sha))), members)
        for sha, members in split.items()
    ]


def _sha(run: Run, *place: str) -> str:
    """The hash of the tokens that a run was calibrated or evaluated on; empty if not recorded."""
    node: Any = run.result.get("data")
    for name in (*place, "tokens_sha256"):
        node = node.get(name) if isinstance(node, dict) else None
    return str(node or "")


def recipe_of(run: Run) -> tuple[tuple[str, str], ...]:
    """Every option of the composition: of the methods, and the target."""
    return tuple(
        sorted(
            (key, str(value))
            for key, value in run.options.items()
            if key.split(".")[0] in GROUPS or key in TARGET
        )
    )


def same_weights(one: Run, other: Run, text: str) -> bool:
    """Whether two runs began with the same weights and were evaluated on the same tokens."""
    same = all(one.options.get(key) == other.options.get(key) for key in OF_WEIGHTS)
    tokens = [(run.seqlen, _sha(run, "evaluation", text), run.options.get("eval.bos"))
              for run in (one, other)]  # fmt: skip
    return same and tokens[0] == tokens[1]
