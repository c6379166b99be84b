"""The rows and columns of a grid, and their names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dsnot_exp.report.composition import TARGET, first, target
from dsnot_exp.report.names import of_model, of_option, of_texts
from dsnot_exp.report.runs import in_order
from dsnot_exp.report.tables.entries import Entry, Options
from dsnot_exp.report.tables.measures import MEAN, names_of
from dsnot_exp.results.method_names import GROUPS

USUAL_FIRST = ("magnitude", "wanda", "sparsegpt")
UNSET = "unset"


@dataclass(frozen=True)
class Row:
    """A composition.

    told: its options that differ between the rows of this grid; they tell rows apart
    options: the same in words
    """

    methods: str
    told: Options = ()
    options: tuple[str, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        return ", ".join([self.methods, *self.options])


@dataclass(frozen=True)
class Column:
    """name: the text, or the task"""

    model: str
    name: str
    budget: str


def columns_of(entries: list[Entry]) -> list[tuple[str, dict[str, str]]]:
    """For each entry: its model, and the names of its columns with their keys in the results."""
    models = _model_names(entries)
    texts = of_texts(list(dict.fromkeys(entry.text for entry in entries)))
    contents: dict[tuple[Options, str], set[str]] = {}
    runs: dict[Options, list[Entry]] = {}
    for entry in entries:
        contents.setdefault((entry.model, entry.text), set()).add(entry.content)
        runs.setdefault(entry.model, []).append(entry)
    tasks = {model: names_of("zero_shot", "eval.tasks", [entry.run for entry in own])
             for model, own in runs.items()}  # fmt: skip
    found: list[tuple[str, dict[str, str]]] = []
    for entry in entries:
        if entry.text:
            several = len(contents[entry.model, entry.text]) > 1
            name = texts[entry.text] + (f" [{entry.content[:6]}]" if several else "")
            names = {name: entry.text}
        else:
            own = tasks[entry.model]
            names = {task: task for task in [*own, *([MEAN] if len(own) > 1 else [])]}
        found.append((models[entry.model], names))
    return found


def _model_names(entries: list[Entry]) -> dict[Options, str]:
    """By its authors' name; what differs between two models of one name is added."""
    runs = {entry.model: entry.run for entry in entries}
    found = {}
    for model, run in runs.items():
        name = of_model(run.options)
        alike = [dict(m) for m, r in runs.items() if of_model(r.options) == name]
        keys = sorted({key for other in alike for key in other})
        told = [k for k in keys if len({other.get(k) for other in alike}) > 1]
        paths = of_texts([other.get("model.path", UNSET) for other in alike])
        more = [_of_model_option(key, dict(model).get(key, UNSET), paths) for key in told]
        found[model] = ", ".join([name, *more])
    return found


def _of_model_option(key: str, value: str, paths: dict[str, str]) -> str:
    return paths[value] if key == "model.path" else f"{key.removeprefix('model.')} {value}"


def rows_of(entries: list[Entry]) -> list[Row]:
    """The row of each entry. An option is told if it differs between runs of one model, and for
    an option of a method, of the same methods. One that differs between models only, such as the
    sequence length, belongs to the model."""
    told = _told(entries, "recipe") | _told(entries, "rest")
    told -= {f"{group}.name" for group in GROUPS}
    values: dict[str, dict[str, None]] = {}
    for entry in entries:
        for key, value in (*entry.recipe, *entry.rest):
            if key in told:
                values.setdefault(key, {})[value] = None
    return [_row(entry, values) for entry in entries]


def _told(entries: list[Entry], part: str) -> set[str]:
    """The options of this part that differ for one model; of `recipe`, for the same methods."""
    groups: dict[tuple[Options, str], list[Options]] = {}
    for entry in entries:
        name = entry.methods if part == "recipe" else ""
        groups.setdefault((entry.model, name), []).append(getattr(entry, part))
    found: set[str] = set()
    for members in groups.values():
        distinct = [dict(options) for options in dict.fromkeys(members)]
        keys = {key for options in distinct for key in options}
        found |= {key for key in keys if len({o.get(key, UNSET) for o in distinct}) > 1}
    return found


def _row(entry: Entry, values: dict[str, dict[str, None]]) -> Row:
    """values: of every option that is told"""
    own = dict(entry.recipe) | dict(entry.rest)
    told = [key for key in sorted(values) if key in own]
    words = [of_option(key, own[key], list(values[key]), values)
             for key in told if key not in TARGET]  # fmt: skip
    corrected = target(entry.run.options)
    options = (*words, *([corrected] if corrected else []))
    return Row(entry.methods, tuple((key, own[key]) for key in told), options)


def ordered(columns: Iterable[Column]) -> list[Column]:
    """Models, then texts in their order, then sparsities, N:M last."""
    known = list(columns)
    models = in_order([column.model for column in known])
    names = list(dict.fromkeys(column.name for column in known))
    budgets = in_order([column.budget for column in known])
    return sorted(known, key=lambda c: (models.index(c.model), names.index(c.name),
                                        ":" in c.budget, budgets.index(c.budget)))  # fmt: skip


def in_rows(rows: Iterable[Row]) -> list[Row]:
    names = in_order([row.name for row in rows])
    pruners = in_order([first(row.methods) for row in rows], USUAL_FIRST)
    return sorted(rows, key=lambda row: (pruners.index(first(row.methods)),
                                         row.methods.count("+"), row.methods,
                                         names.index(row.name)))  # fmt: skip
