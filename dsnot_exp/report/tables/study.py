"""Build the tables of a layout from runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any

from dsnot_exp.report.names import of_texts
from dsnot_exp.report.runs import VARIANT, Run
from dsnot_exp.report.tables import gains
from dsnot_exp.report.tables.dense import first_dense, same_dense
from dsnot_exp.report.tables.groups import ONLY_ACCURACY, ONLY_PERPLEXITY, Key, apart
from dsnot_exp.report.tables.labels import labels, say
from dsnot_exp.report.tables.layouts import Layout
from dsnot_exp.report.tables.marks import with_best
from dsnot_exp.report.tables.measures import MEAN, MEASURES, of_table
from dsnot_exp.report.tables.members import members
from dsnot_exp.report.tables.published import Published, find, place_of
from dsnot_exp.report.tables.table import Cell, Table, average, pool, with_marks
from dsnot_exp.report.tables.values import values


def tables(name: str, layout: Layout, runs: Sequence[Run]) -> Iterator[Table]:
    """One table if all runs fit in it, otherwise one for each group of comparable runs."""
    pruned = [run for run in members(layout, runs) if run.method != "dense"]
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
        first = partial(self._measure, self.names[0])
        found = (
            gains.alone(self.layout, self.everyone, self.fixed, first) if self.layout.apart else ()
        )
        notes = [*found, *self._remarks()]
        heads, left, shared = labels(self.layout.rows, rows, least=1)
        single = len(self.layout.columns) == 1
        _, above, also = labels(self.layout.columns, columns, least=int(single))
        parts = [self._heading(label, name) for label, name in product(above, self.names)]
        higher = [" · ".join(part[:-1]) for part in parts]
        table = Table(
            self.name,
            self._title(),
            self._caption([*shared, *also]),
            heads,
            left,
            [part[-1] for part in parts],
            cells,
            self.layout.digits[1 if self._small() else 0],
            higher=not lower,
            above=higher if any(higher) else [],
            baseline="the same mask without refinement" if self.layout.changes else "",
        )
        notes += gains.changes(left, table.full_names, cells) if self.layout.changes else []
        return with_marks(replace(table, notes=notes))

    def _small(self) -> bool:
        return all(run.model == "tinyworld" for run in self.runs)

    def _keys(self, axes: Sequence[str]) -> list[Key]:
        return list(product(*(values(self.layout, self.runs, axis) for axis in axes)))

    def _cell(self, row: Key, column: Key, name: str) -> Cell:
        at = dict(zip(self.layout.axes, (*row, *column), strict=True))
        runs = self._at(at)
        if self._method(at) == "dense":
            cell, runs = self._dense(str({**self.fixed, **at}["model"]), name)
        else:
            cell = pool(runs, partial(self._measure, name))
        beside = self._published({**self.fixed, **at}, runs, name)
        lower = MEASURES[self.layout.measure].lower
        cell = gains.with_change(cell, self._before(at, name), lower, self.layout.changes)
        return replace(cell, published=beside)

    def _at(self, at: dict[str, Any]) -> list[Run]:
        return [r for r in self.runs if all(r.axis(axis) == v for axis, v in at.items())]

    def _measure(self, name: str, run: Run, stage: str = "refined") -> Any:
        value = MEASURES[self.layout.measure].of
        if name != MEAN:
            return value(run, name, stage)
        return average(value(run, task, stage) for task in self.names if task != MEAN)

    def _dense(self, model: str, name: str) -> tuple[Cell, list[Run]]:
        more = ONLY_ACCURACY if self.layout.measure == "accuracy" else ONLY_PERPLEXITY
        runs = same_dense(model, self.runs, self.everyone, self.fixed, more)
        return first_dense(runs, partial(self._measure, name))

    def _before(self, at: dict[str, Any], name: str) -> float | None:
        """The value of the same cell without refinement."""
        before = gains.without_refinement(at, self._at(at), alone=not self.layout.changes)
        if before == at or self.layout.measure == "seconds":
            return None
        runs = self._at(before)
        if self.layout.changes and any(map(gains.other_mask, runs)):
            self.remarks.setdefault(gains.OTHER_MASK, {})
            return None
        return pool(runs, partial(self._measure, name)).value

    def _published(self, at: dict[str, Any], runs: list[Run], name: str) -> Published | None:
        where = place_of(self.layout.measure, name, at, runs[0] if runs else None)
        if where is None:
            return None
        beside, beneath = find(where)
        for other in beneath:
            phase = f", {name}" if self.layout.measure == "seconds" else ""
            text = f"{where.method}, {where.model}{phase}: {other.text}"
            self.remarks.setdefault(other.source, {})[text] = None
        return beside

    def _remarks(self) -> Iterator[str]:
        for source, texts in self.remarks.items():
            yield source if not texts else f"Also published: {'; '.join(texts)} (source: {source})."

    def _over_seeds(self, column: Key, name: str) -> Cell:
        at = dict(zip(self.layout.columns, column, strict=True))
        return pool(self._at(at), partial(self._measure, name))

    def _contest(self, row: Key) -> object:
        """Rows of one model compete for the best value; dense rows do not compete."""
        at = dict(zip(self.layout.rows, row, strict=True))
        return None if self._method(at) == "dense" else str(at.get("model"))

    @staticmethod
    def _method(at: dict[str, Any]) -> Any:
        return at.get("method") or at.get(VARIANT)

    def _heading(self, label: tuple[str, ...], name: str) -> list[str]:
        """The headings of a column, the one directly above it last."""
        return [*label, *([name] if len(self.names) > 1 else [])] or [self.layout.measure]

    def _title(self) -> str:
        if len(self.names) > 1:
            return self.layout.title
        return f"{self.layout.title} on {of_texts(self.names)[self.names[0]]}"

    def _caption(self, shared: list[str]) -> str:
        facts = [say(key, value) for key, value in self.fixed.items()]
        return "; ".join([*shared, *facts, MEASURES[self.layout.measure].unit])
