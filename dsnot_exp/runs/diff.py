"""Compare two runs: options, metrics, masks, versions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dsnot_exp.config import WITHOUT_EFFECT
from dsnot_exp.report.runs import Run
from dsnot_exp.results.file import flatten
from dsnot_exp.results.stages import column_titles
from dsnot_exp.runs.fields import mean_of_layers
from dsnot_exp.runs.find import Found
from dsnot_exp.runs.masks import MaskOverlap, mask_overlap
from dsnot_exp.runs.measured import unlike
from dsnot_exp.utils.errors import RequestError

ABSENT = "(absent)"
HASHES = ("config_hash", "masks_sha256")
Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Metric:
    """what: such as `perplexity wikitext2`; stage as in result.json; titles: what it is in each;
    unlike: why the two do not compare"""

    what: str
    stage: str
    titles: tuple[str, str]
    a: float | None
    b: float | None
    unlike: str

    @property
    def difference(self) -> float | None:
        """b - a; None if one is missing, or they were measured on different inputs."""
        return None if self.a is None or self.b is None or self.unlike else self.b - self.a


@dataclass(frozen=True)
class Difference:
    """Of run `b` from run `a`. Values that differ are pairs by dotted names; ABSENT: a run does not
    have it."""

    a: str
    b: str
    options: dict[str, Pair]
    metrics: list[Metric]
    costs: dict[str, Pair]
    origins: dict[str, Pair]
    masks: MaskOverlap = field(default_factory=MaskOverlap)

    def as_json(self) -> str:
        content = asdict(self)
        for metric, row in zip(self.metrics, content["metrics"], strict=True):
            row["difference"] = metric.difference
        for group in ("options", "costs", "origins"):
            content[group] = {k: {"a": a, "b": b} for k, (a, b) in content[group].items()}
        return json.dumps(content, indent=1)


def difference(a: Found, b: Found) -> Difference:
    """Raises if one of them has no result."""
    for run in (a, b):
        if run.run is None:
            why = f": {run.why}" if run.why else ""
            raise RequestError(f"{run.folder}: {run.state}{why}; only runs with a result compare")
    assert a.run is not None
    assert b.run is not None
    one, other = a.run.result, b.run.result
    return Difference(
        a=str(a.folder),
        b=str(b.folder),
        options=_differing(a.run.options, b.run.options),
        metrics=metrics(a.run, b.run),
        costs={
            key: (_at(one, key), _at(other, key))
            for key in ("timing_s.total", "memory.peak_rss_bytes", "memory.peak_device_bytes")
        },
        origins=_differing(_origins(one), _origins(other)),
        masks=mask_overlap(Path(a.folder), one, Path(b.folder), other),
    )


def _differing(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Pair]:
    keys = dict.fromkeys([*one, *other])
    pairs = {key: (one.get(key, ABSENT), other.get(key, ABSENT)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def without_effect(key: str) -> bool:
    """Whether an option cannot change the result."""
    return key.partition(".")[0] in WITHOUT_EFFECT


def _at(result: dict[str, Any], key: str) -> Any:
    return flatten(result).get(key)


def _origins(result: dict[str, Any]) -> dict[str, Any]:
    """Versions, and hashes of tokens, masks and options."""
    data = flatten(result.get("data") or {}, prefix="data")
    hashed = {k: v for k, v in data.items() if k.endswith(("sha256", ".revision"))}
    revision = {"model.revision": result["model"].get("revision")}
    return {**{key: result.get(key) for key in HASHES}, **revision, **hashed} | {
        f"environment.{key}": value for key, value in result["environment"].items()
    }


def metrics(a: Run, b: Run) -> list[Metric]:
    """Every perplexity and accuracy that either has, and the mean errors of the layers."""
    found, titles = list[Metric](), (column_titles(a.result), column_titles(b.result))
    for kind, key, word in (
        ("perplexity", None, "perplexity"),
        ("zero_shot", "acc", "accuracy"),
        ("zero_shot", "acc_norm", "acc_norm"),
    ):
        names = dict.fromkeys([*a.result["metrics"][kind], *b.result["metrics"][kind]])
        for name in names:
            for stage in ("dense", "pruned", "refined"):
                values = a.metric(kind, name, stage, key), b.metric(kind, name, stage, key)
                called = (titles[0].get(stage, stage), titles[1].get(stage, stage))
                if values != (None, None):
                    why = "" if None in values else unlike(a.result, b.result, kind, name)
                    found.append(Metric(f"{word} {name}", stage, called, *values, why))
    for key in ("relative_after", "expected_after"):
        pair = mean_of_layers(a.result, key), mean_of_layers(b.result, key)
        if pair != (None, None):
            word = key.partition("_")[0]
            why = "" if None in pair else unlike(a.result, b.result, "reconstruction", "")
            found.append(Metric(f"{word} error, mean of layers", "refined", ("", ""), *pair, why))
    return found
