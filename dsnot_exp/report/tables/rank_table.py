"""The table of a ranking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dsnot_exp.report.names import of_model, of_texts
from dsnot_exp.report.runs import number
from dsnot_exp.report.tables.ranking import Ranking, Standing
from dsnot_exp.report.tables.table import Cell, Table

COMPOSITION = "composition"
Column = tuple[str, Callable[[Standing], Cell], float | None]  # name, its cells, the dense value


def rank_table(name: str, ranking: Ranking) -> Table:
    """One row per composition, the lowest perplexity first, below the dense model.

    name: the sweep
    """
    columns = list(_columns(ranking))
    cells = [[of(standing) for _, of, _ in columns] for standing in ranking.standings]
    for place, (column, _, _) in enumerate(columns):
        if column in BEST:
            values = [row[place].value for row in cells]
            best = BEST[column](value for value in values if value is not None)
            for row in cells:
                row[place] = replace(row[place], best=row[place].value == best)
    dense = [Cell(value) for _, _, value in columns]
    known = ranking.dense is not None
    (text,) = of_texts([ranking.text]).values()
    return Table(
        name,
        f"Ranking at {ranking.run.budget} on {text}",
        _caption(ranking),
        (COMPOSITION,),
        [*([("dense",)] if known else []), *((one.name,) for one in ranking.standings)],
        [column for column, _, _ in columns],
        [*([dense] if known else []), *cells],
        notes=_notes(ranking),
    )


BEST: dict[str, Callable[..., float]] = {"perplexity": min, "ratio": min, "zero-shot mean": max}


def _columns(ranking: Ranking) -> list[Column]:
    """The columns for which there are numbers."""
    found: list[Column] = [("perplexity", lambda one: one.perplexity, ranking.dense)]
    if ranking.compared:
        found.append(("ratio", lambda one: one.ratio, None))
    more: list[Column] = [
        ("zero-shot mean", lambda one: one.accuracy, ranking.dense_accuracy),
        ("forwards (s)", lambda one: one.forwards, None),
        ("over (s)", lambda one: one.over, None),
        ("memory (GiB)", lambda one: one.memory, None),
    ]
    known = [c for c in more if any(c[1](one).value is not None for one in ranking.standings)]
    return found + known


def _caption(ranking: Ranking) -> str:
    run = ranking.run
    samples, length = (number(run.options.get(f"calib.{key}")) for key in ("samples", "seqlen"))
    size = f"{samples} x {length} tokens of " if samples and length else ""
    (data,) = of_texts([str(run.options.get("calib.dataset"))]).values()
    calibration = f"calibration {size}{data}"
    model = of_model(run.options)
    return "; ".join(
        filter(None, [model, calibration, run.measured_on, "perplexity, lower is better"])
    )


def _notes(ranking: Ranking) -> list[str]:
    shown = [column for column, _, _ in _columns(ranking)]
    found = []
    if "ratio" in shown:
        found.append(
            "Ratio: the gap to the dense perplexity, over the gap of SparseGPT with the same seed."
        )
    if "over (s)" in shown:
        found.append(
            "Forwards: seconds of the phase calibrate, statistics included. Over: seconds of the "
            "method's other phases. Memory: peak of the device, on a CPU of the process."
        )
    if ranking.twice:
        found.append(
            f"Runs that measured the pruned stage too: {ranking.twice}. Their seconds include its "
            "walk; eval.baselines=[dense] leaves it out."
        )
    return found
