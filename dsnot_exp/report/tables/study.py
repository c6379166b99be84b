"""Build the tables of a layout from runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

from dsnot_exp.report.runs import Run, in_order
from dsnot_exp.report.tables.groups import ONLY_ACCURACY, Key, apart, fits
from dsnot_exp.report.tables.labels import labels, say
from dsnot_exp.report.tables.layouts import CRITERIA, METHODS, MODELS, Layout
from dsnot_exp.report.tables.measures import MEAN, MEASURES, of_table
from dsnot_exp.report.tables.published import Published, Where, find
from dsnot_exp.report.tables.table import Cell, Table, average, pool, with_best, with_marks

WEIGHTS = ("model.path", "model.revision", "model.dtype")  # what a dense value depends on


def tables(name: str, layout: Layout, runs: Sequence[Run]) -> Iterator[Table]:
    """One table if all runs fit in it, otherwise one for each group of comparable runs."""
    pruned = [run for run in runs if run.method != "dense"]
    placed = [r for r in pruned if not layout.apart or r.options.get(layout.rows[0]) is not None]
    for fixed, group in apart(layout, placed):
        for names in of_table(layout.measure, group):
            yield _Sheet(name, layout, group, list(runs), fixed, names).table()


@dataclass
class _Sheet:
    """`fixed`: the values that all `runs` share. `everyone`: runs to search for dense values."""

    name: str
    layout: Layout
    runs: list[Run]
    everyone: list[Run]
    fixed: dict[str, Any]
    names: list[str]  # data set, tasks or phases: the subcolumns
    remarks: dict[str, dict[str, None]] = field(default_factory=dict)

    def table(self) -> Table:
        rows, columns = self._keys(self.layout.rows), self._keys(self.layout.columns)
        places = [(column, name) for column in columns for name in self.names]
        cells = [[self._cell(row, *place) for place in places] for row in rows]
        if self.layout.rows == ("seed",):
            rows.append(("mean",))
            cells.append([self._over_seeds(*place) for place in places])
        lower = MEASURES[self.layout.measure].lower
        if self.layout.best:
            cells = with_best(cells, [self._contest(row) for row in rows], lower)
        heads, left, shared = labels(self.layout.rows, rows, least=1)
        single = len(self.layout.columns) == 1
        _, above, also = labels(self.layout.columns, columns, least=int(single))
        return with_marks(
            Table(
                self.name,
                self._title(),
                self._caption([*shared, *also]),
                heads,
                left,
                [self._column(label, name) for label, name in product(above, self.names)],
                cells,
                self.layout.digits[1 if self._small() else 0],
                higher=not lower,
                notes=[*self._alone(), *self._remarks()],
            )
        )

    def _small(self) -> bool:
        return all(run.model == "tinyworld" for run in self.runs)

    def _keys(self, axes: Sequence[str]) -> list[Key]:
        return list(product(*(self._values(axis) for axis in axes)))

    def _values(self, axis: str) -> list[Any]:
        seen = [run.axis(axis) for run in self.runs]
        first: Sequence[Any] = self.layout.order.get(axis, ())
        if any("{}" in str(value) for value in first):
            initializers = in_order([run.axis("initializer") for run in self.runs])
            first = [value.format(name) for name in initializers for value in first]
        usual = CRITERIA if axis.startswith("refine.") else (*MODELS, *METHODS)
        known = [value for value in usual if value in seen and value not in first]
        return in_order(seen, [*first, *known])

    def _cell(self, row: Key, column: Key, name: str) -> Cell:
        at = dict(zip(self.layout.axes, (*row, *column), strict=True))
        runs = self._at(at)
        if at.get("method") == "dense":
            cell, runs = self._dense(str({**self.fixed, **at}["model"]), name)
        else:
            cell = pool(runs, partial(self._measure, name))
        beside = self._published({**self.fixed, **at}, runs, name)
        return Cell(
            cell.value, cell.words, cell.spread, cell.n, beside, self._gains(cell, at, name)
        )

    def _at(self, at: dict[str, Any]) -> list[Run]:
        return [r for r in self.runs if all(r.axis(axis) == v for axis, v in at.items())]

    def _measure(self, name: str, run: Run, stage: str = "refined") -> Any:
        value = MEASURES[self.layout.measure].of
        if name != MEAN:
            return value(run, name, stage)
        return average(value(run, task, stage) for task in self.names if task != MEAN)

    def _dense(self, model: str, name: str) -> tuple[Cell, list[Run]]:
        """The dense value from the first run of the same weights, measured in the same way, that
        has it."""
        compared = {k: v for k, v in self.fixed.items() if k.split(".")[0] in ("seqlen", "eval")}
        beside = next((run for run in self.runs if run.model == model), None)
        if beside is not None:
            more = ONLY_ACCURACY if self.layout.measure == "accuracy" else ()
            keys = [key for key in (*WEIGHTS, *more) if key in beside.options]
            compared |= {key: beside.options[key] for key in keys}
        runs = [run for run in self.everyone if run.model == model and fits(run, compared)]
        for run in runs:
            stages = ("dense", "refined") if run.method == "dense" else ("dense",)
            for measured in (self._measure(name, run, stage) for stage in stages):
                if measured is not None:
                    return Cell(measured.value, spread=measured.error), [run]
        cell = pool(runs, lambda run: None)
        return cell, runs[:1]

    def _gains(self, cell: Cell, at: dict[str, Any], name: str) -> bool:
        """Whether the cell is better than the same cell without refinement."""
        before = dict(at)
        for axis, value in at.items():
            if axis == "method":
                before[axis] = str(value).split("+")[0]
            elif axis.startswith("refine."):
                before[axis] = None
        if before == at or cell.value is None or self.layout.measure == "seconds":
            return False
        other = pool(self._at(before), partial(self._measure, name)).value
        lower = MEASURES[self.layout.measure].lower
        return other is not None and (cell.value < other if lower else cell.value > other)

    def _published(self, at: dict[str, Any], runs: list[Run], name: str) -> Published | None:
        run = runs[0] if runs else None
        method = at.get("method") or (run.method if run else None)
        if method is None:
            return None
        where = Where(
            self.layout.measure,
            name,
            str(at.get("model")),
            str(method),
            str(at.get("budget")),
            at.get("seqlen"),
            run.options if run else {k: v for k, v in at.items() if "." in k},
        )
        beside, beneath = find(where)
        for other in beneath:
            phase = f", {name}" if self.layout.measure == "seconds" else ""
            text = f"{where.method}, {where.model}{phase}: {other.text}"
            self.remarks.setdefault(other.source, {})[text] = None
        return beside

    def _remarks(self) -> Iterator[str]:
        for source, texts in self.remarks.items():
            yield f"Also published: {'; '.join(texts)} (source: {source})."

    def _over_seeds(self, column: Key, name: str) -> Cell:
        at = dict(zip(self.layout.columns, column, strict=True))
        return pool(self._at(at), partial(self._measure, name))

    def _contest(self, row: Key) -> object:
        """Rows of one model compete for the best value; dense rows do not compete."""
        at = dict(zip(self.layout.rows, row, strict=True))
        return None if at.get("method") == "dense" else str(at.get("model"))

    def _column(self, label: tuple[str, ...], name: str) -> str:
        parts = [*label, *([name] if len(self.names) > 1 else [])]
        return " · ".join(parts) or self.layout.measure

    def _title(self) -> str:
        return self.layout.title + (f" on {self.names[0]}" if len(self.names) == 1 else "")

    def _caption(self, shared: list[str]) -> str:
        facts = [say(key, value) for key, value in self.fixed.items()]
        return "; ".join([*shared, *facts, MEASURES[self.layout.measure].unit])

    def _alone(self) -> Iterator[str]:
        """Notes on runs without refinement, which are not on the axes."""
        if not self.layout.apart:
            return
        for run in self.everyone:
            same = fits(run, {k: v for k, v in self.fixed.items() if k != "refine.name"})
            cell = pool([run], partial(self._measure, self.names[0]))
            if run.options.get(self.layout.rows[0]) is None and same and cell.value is not None:
                which = f"{run.model}, {run.method}, {run.budget}"
                yield f"Without refinement: {which}: {cell.value:.4g}."
