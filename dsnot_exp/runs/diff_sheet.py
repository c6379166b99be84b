"""Print the comparison of two runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsnot_exp.runs.diff import ABSENT, Difference, Metric, Pair, without_effect
from dsnot_exp.runs.kinds import kind_of
from dsnot_exp.runs.masks import Layer, MaskOverlap
from dsnot_exp.runs.sheet import Sheet
from dsnot_exp.utils.wanted import shown
from dsnot_exp.utils.words import amount, duration, percent, perplexity, size

HASH = re.compile(r"^([0-9a-f]{12})[0-9a-f]{28,}(-dirty)?$")


def print_difference(found: Difference) -> None:
    sheet = Sheet()
    sheet.title("a  " + Path(found.a).name)
    sheet.title("b  " + Path(found.b).name)
    sheet.section("Options that differ")
    # Where the methods differ, the options of either have no counterpart.
    other = {key.removesuffix("name") for key in found.options if key.endswith(".name")}
    alone = {
        k for k, pair in found.options.items() if ABSENT in pair and k.startswith(tuple(other))
    }
    silent = [key for key in found.options if without_effect(key)]
    shown_keys = [key for key in found.options if key not in alone and key not in silent]
    _pairs(sheet, "option", {key: found.options[key] for key in shown_keys})
    if alone:
        sheet.note(f"and the {len(alone)} options that only one of the methods has")
    if silent:
        sheet.note(f"and without effect on the result: {', '.join(silent)}")
    sheet.section("Metrics")
    rows = [_metric(metric) for metric in found.metrics]
    sheet.table(("", "stage", "a", "b", "b - a", ""), rows, "llrrrr")
    if any(metric.unlike for metric in found.metrics):
        sheet.note("in brackets: measured on different inputs, so there is no difference")
    sheet.section("Masks")
    _masks(sheet, found.masks)
    sheet.section("Time and memory")
    _costs(sheet, found.costs)
    sheet.section("Versions and hashes that differ")
    _pairs(sheet, "", found.origins)


def _pairs(sheet: Sheet, title: str, pairs: Mapping[str, Pair]) -> None:
    rows = [(key, _text(a), _text(b)) for key, (a, b) in pairs.items()]
    if rows:
        sheet.table((title, "a", "b"), rows, "lll")
    else:
        sheet.note("none")


def _text(value: Any) -> str:
    if value == ABSENT:
        return "-"
    text = f"[{','.join(map(shown, value))}]" if isinstance(value, list) else shown(value)
    return HASH.sub(r"\1...\2", text)


def _metric(metric: Metric) -> tuple[str, ...]:
    one, other = metric.titles
    stage = one if one == other else f"{one} / {other}"
    cells = ["" if value is None else _number(metric.what, value) for value in (metric.a, metric.b)]
    by = metric.difference
    if by is None:
        return metric.what, stage, *cells, "", f"({metric.unlike})" if metric.unlike else ""
    relative = f"{100 * by / metric.a:+.1f} %" if metric.a and not _is_share(metric.what) else ""
    return metric.what, stage, *cells, _signed(metric.what, by), relative


def _is_share(what: str) -> bool:
    return what.startswith("acc")


def _number(what: str, value: float) -> str:
    if _is_share(what):
        return percent(value)
    return perplexity(value) if what.startswith("perplexity") else amount(value)


def _signed(what: str, value: float) -> str:
    text = _number(what, abs(value)).removesuffix(" %")
    return text if value == 0 else f"{'-' if value < 0 else '+'}{text}"


def _masks(sheet: Sheet, masks: MaskOverlap) -> None:
    if masks.same:
        sheet.note("the same masks: their hashes are equal")
    if masks.why:
        sheet.note(f"{'different masks; ' if masks.same is False else ''}{masks.why}")
    if masks.total is None:
        return
    total = masks.total
    sheet.note(
        f"{total.jaccard:.4f} of the weights that either keeps are kept by both (Jaccard); "
        f"{total.equal:.4f} of all entries are equal"
    )
    if masks.only_one:
        sheet.note(f"pruned by one run alone: {', '.join(masks.only_one)}")
    rows = [(layer.name, f"{layer.jaccard:.4f}", f"{layer.equal:.4f}") for layer in masks.layers]
    means = [(name, f"{j:.4f}", f"{e:.4f}") for name, j, e in _by_kind(masks.layers)]
    sheet.table(("layer", "Jaccard", "equal"), rows, "lrr")
    sheet.console.print()
    sheet.table(("kind, mean of layers", "Jaccard", "equal"), means, "lrr")


def _by_kind(layers: list[Layer]) -> list[tuple[str, float, float]]:
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        groups.setdefault(kind_of(layer.name), []).append(layer)
    return [
        (name, sum(x.jaccard for x in of) / len(of), sum(x.equal for x in of) / len(of))
        for name, of in groups.items()
    ]


def _costs(sheet: Sheet, costs: Mapping[str, Pair]) -> None:
    rows = []
    for key, pair in costs.items():
        texts = [
            "" if not value else duration(value) if key.startswith("timing") else size(int(value))
            for value in pair
        ]
        if any(texts):
            rows.append((key, *texts))
    sheet.table(("", "a", "b"), rows, "lrr")
