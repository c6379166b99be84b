"""Compositions by sparsities: what each row and column of such a grid means, and its cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from dsnot_exp.report.composition import GROUPS, TARGET, first, methods, target
from dsnot_exp.report.names import of_model, of_option, of_texts
from dsnot_exp.report.runs import Run, in_order
from dsnot_exp.report.tables.comparison import OFF, Setting, by_setting, recipe_of, same_weights
from dsnot_exp.report.tables.groups import FREE, ONLY_ACCURACY
from dsnot_exp.report.tables.measures import MEAN, MEASURES, names_of
from dsnot_exp.report.tables.table import Cell, Measured, average, pool

Options = tuple[tuple[str, str], ...]
MEASURED = ("eval", "tokens", "text")  # parts of a setting that say how it was measured
USUAL_FIRST = ("magnitude", "wanda", "sparsegpt")


@dataclass(frozen=True)
class Row:
    """A composition. options: in words, those that differ between the rows of this grid"""

    methods: str
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return ", ".join([self.methods, *self.options])


@dataclass(frozen=True)
class Column:
    """name: the text, or the task"""

    model: str
    name: str
    budget: str


@dataclass
class Grid:
    """cells: of pruned models; members: the runs of each cell; dense: by model and text or task
    keys: the names of texts and tasks in the results, by model and name
    measure: `perplexity` or `accuracy`
    facts: what all runs share, in words"""

    measure: str
    rows: list[Row]
    columns: list[Column]
    cells: dict[tuple[Row, Column], Cell]
    members: dict[tuple[Row, Column], list[Run]]
    dense: dict[tuple[str, str], Cell]
    keys: dict[tuple[str, str], str]
    facts: list[str]

    def cell(self, row: Row, column: Column) -> Cell:
        return self.cells.get((row, column), pool([], lambda run: None))


@dataclass(frozen=True)
class _Entry:
    """A run at its place. model: all options of the model; rest: all other options of the run that
    are not in its composition"""

    run: Run
    text: str
    model: Options
    recipe: Options
    rest: Options
    measured: Options


def grids(runs: Sequence[Run], measure: str = "perplexity") -> Iterator[Grid]:
    """One grid for each way of measuring: sequence length, options of `eval`. Runs in one cell
    differ in their seed only."""
    entries = list(_entries(runs, measure))
    ways = [_way(entry, measure) for entry in entries]
    for shared in dict.fromkeys(ways):
        own = [entry for entry, way in zip(entries, ways, strict=True) if way == shared]
        yield _grid(own, runs, measure, shared)


def _entries(runs: Sequence[Run], measure: str) -> Iterator[_Entry]:
    kind, option = {"perplexity": ("perplexity", "eval.perplexity"),
                    "accuracy": ("zero_shot", "eval.tasks")}[measure]  # fmt: skip
    names = names_of(kind, option, runs)
    pruned = [run for run in runs if run.method != "dense"]
    for text in names if measure == "perplexity" else names[:1]:
        known = [run for run in pruned if _asked(run, kind, option, [text])]
        if measure == "accuracy":
            known = [run for run in pruned if _asked(run, kind, option, names)]
        for setting, members in by_setting(known, text if measure == "perplexity" else "").items():
            for run in members:
                yield _entry(run, setting, text)


def _asked(run: Run, kind: str, option: str, names: Iterable[str]) -> bool:
    asked = run.options.get(option)
    missing = asked if isinstance(asked, list) and run.incomplete else []
    return any(name in run.result["metrics"][kind] or name in missing for name in names)


def _entry(run: Run, setting: Setting, text: str) -> _Entry:
    parts: dict[str, list[tuple[str, str]]] = {"model": [], "measured": [], "rest": []}
    for key, value in setting.shared:
        group = key.split(".")[0]
        place = "model" if group == "model" else "measured" if group in MEASURED else "rest"
        if key not in ("sparsity", "pattern"):
            parts[place].append((key, value))
    own = (tuple(parts[name]) for name in ("model", "rest", "measured"))
    model, rest, measured = own
    return _Entry(run, text, model, recipe_of(run), rest, measured)


def _way(entry: _Entry, measure: str) -> Options:
    """How it was measured. The text's tokens differ between tokenizers, and a task has its own."""
    apart = ("text",) if measure == "perplexity" else ("text", "tokens")
    return tuple((key, value) for key, value in entry.measured if key not in apart)


def _grid(entries: list[_Entry], runs: Sequence[Run], measure: str, shared: Options) -> Grid:
    names = _columns_of(entries, runs, measure)
    rows = _rows_of(entries)
    members: dict[tuple[Row, Column], list[Run]] = {}
    columns: dict[Column, None] = {}
    source: dict[tuple[str, str], tuple[Run, str]] = {}
    for entry, row in zip(entries, rows, strict=True):
        model, texts = names[entry.model, dict(entry.measured).get("text", ""), entry.text]
        for text, raw in texts.items():
            column = Column(model, text, entry.run.budget)
            columns[column] = None
            members.setdefault((row, column), []).append(entry.run)
            source.setdefault((model, text), (entry.run, raw))
    tasks = {model: [raw for (m, _), (_, raw) in source.items() if m == model and raw != MEAN]
             for model, _ in source}  # fmt: skip
    cells = {
        place: _pooled(own, measure, source[place[1].model, place[1].name][1],
                       tasks[place[1].model])
        for place, own in members.items()
    }  # fmt: skip
    dense = {
        place: _dense(runs, run, measure, raw, tasks[place[0]])
        for place, (run, raw) in source.items()
    }
    ordered = _ordered(columns)
    keys = {place: raw for place, (_, raw) in source.items()}
    facts = _facts(entries, shared)
    ranked = _sorted(dict.fromkeys(rows))
    return Grid(measure, ranked, ordered, cells, members, dense, keys, facts)


def _columns_of(
    entries: list[_Entry], runs: Sequence[Run], measure: str
) -> dict[tuple[Options, str, str], tuple[str, dict[str, str]]]:
    """For each model, content and text: the model's name, and the name and the key of each of its
    columns."""
    models = _model_names(entries)
    found: dict[tuple[Options, str, str], tuple[str, dict[str, str]]] = {}
    texts = of_texts(list(dict.fromkeys(entry.text for entry in entries)))
    for entry in entries:
        content = dict(entry.measured).get("text", "")
        place = (entry.model, content, entry.text)
        if measure == "perplexity":
            others = {
                dict(e.measured).get("text", "")
                for e in entries
                if (e.model, e.text) == (entry.model, entry.text)
            }
            name = texts[entry.text] + (f" [{content[:6]}]" if len(others) > 1 else "")
            found[place] = (models[entry.model], {name: entry.text})
        elif place not in found:
            own = [e.run for e in entries if e.model == entry.model]
            tasks = names_of("zero_shot", "eval.tasks", own)
            mean = [MEAN] if len(tasks) > 1 else []
            found[place] = (models[entry.model], {task: task for task in [*tasks, *mean]})
    return found


def _model_names(entries: list[_Entry]) -> dict[Options, str]:
    """By its authors' name; what differs between two models of one name is added."""
    runs = {entry.model: entry.run for entry in entries}
    found = {}
    for model, run in runs.items():
        name = of_model(run.options)
        alike = [dict(m) for m, r in runs.items() if of_model(r.options) == name]
        keys = sorted({key for other in alike for key in other})
        told = [k for k in keys if len({other.get(k) for other in alike}) > 1]
        paths = of_texts([other.get("model.path", "unset") for other in alike])
        more = [_of_model_option(key, dict(model).get(key, "unset"), paths) for key in told]
        found[model] = ", ".join([name, *more])
    return found


def _of_model_option(key: str, value: str, paths: dict[str, str]) -> str:
    return paths[value] if key == "model.path" else f"{key.removeprefix('model.')} {value}"


def _rows_of(entries: list[_Entry]) -> list[Row]:
    """The row of each entry. An option is told if it differs between runs of one model, and for
    an option of a method, of the same methods. One that differs between models only, such as the
    sequence length, belongs to the model."""
    told: set[str] = set()
    for part in ("recipe", "rest"):
        known: dict[tuple[Options, str, str], set[str]] = {}
        for entry in entries:
            name = methods(entry.run.options) if part == "recipe" else ""
            own = dict(getattr(entry, part))
            same = [e for e in entries if e.model == entry.model]
            if part == "recipe":
                same = [e for e in same if methods(e.run.options) == name]
            keys = {key for e in same for key, _ in getattr(e, part)}
            for key in keys:
                known.setdefault((entry.model, name, key), set()).add(own.get(key, "unset"))
        told |= {key for (_, _, key), values in known.items() if len(values) > 1}
    told -= {f"{group}.name" for group in GROUPS}
    return [_row(entry, told) for entry in entries]


def _row(entry: _Entry, told: set[str]) -> Row:
    own = dict(entry.recipe) | dict(entry.rest)
    name = methods(entry.run.options) or entry.run.method
    words = [of_option(key, own[key], told) for key in sorted(told - set(TARGET)) if key in own]
    corrected = target(entry.run.options)
    return Row(name, (*words, *([corrected] if corrected else [])))


def _pooled(runs: list[Run], measure: str, name: str, tasks: list[str]) -> Cell:
    value = MEASURES[measure].of
    if name != MEAN:
        return pool(runs, lambda run: value(run, name, "refined"))
    by_seed: dict[str, list[Run]] = {}
    for run in runs:
        by_seed.setdefault(str(run.options.get("seed")), []).append(run)
    means = {
        id(own[0]): average(_first(own, measure, task) for task in tasks)
        for own in by_seed.values()
    }
    return pool([own[0] for own in by_seed.values()], lambda run: means[id(run)])


def _first(runs: list[Run], measure: str, task: str) -> Measured | None:
    """Of several runs of one sparse model, the first that has measured the task."""
    found = (MEASURES[measure].of(run, task, "refined") for run in runs)
    return next((value for value in found if value is not None), None)


def _dense(runs: Sequence[Run], one: Run, measure: str, name: str, tasks: list[str]) -> Cell:
    """From any run of the same weights that has measured the dense model in the same way."""
    text = name if measure == "perplexity" else ""
    asked = _asked_of(one, measure)
    same = [r for r in runs if same_weights(r, one, text) and _asked_of(r, measure) == asked]

    def of(run: Run, task: str) -> Measured | None:
        stages = ("dense", "refined") if run.method == "dense" else ("dense",)
        values = (MEASURES[measure].of(run, task, stage) for stage in stages)
        return next((value for value in values if value is not None), None)

    def any_of(task: str) -> Measured | None:
        return next((v for v in map(partial(of, task=task), same) if v is not None), None)

    found = average(map(any_of, tasks)) if name == MEAN else any_of(name)
    return Cell(words="not measured") if found is None else Cell(found.value, spread=found.error)


def _asked_of(run: Run, measure: str) -> Options:
    """The options that a value of this measure depends on."""
    free = FREE if measure == "accuracy" else FREE | ONLY_ACCURACY
    own = {k: v for k, v in run.options.items() if k.startswith("eval.") and k not in free}
    return tuple(sorted((key, str(value)) for key, value in own.items() if value not in OFF))


def _ordered(columns: Iterable[Column]) -> list[Column]:
    """Models, then texts in their order, then sparsities, N:M last."""
    known = list(columns)
    models = in_order([column.model for column in known])
    names = list(dict.fromkeys(column.name for column in known))
    budgets = in_order([column.budget for column in known])
    return sorted(known, key=lambda c: (models.index(c.model), names.index(c.name),
                                        ":" in c.budget, budgets.index(c.budget)))  # fmt: skip


def _sorted(rows: Iterable[Row]) -> list[Row]:
    names = in_order([row.name for row in rows])
    pruners = in_order([first(row.methods) for row in rows], USUAL_FIRST)
    return sorted(rows, key=lambda row: (pruners.index(first(row.methods)),
                                         row.methods.count("+"), row.methods,
                                         names.index(row.name)))  # fmt: skip


def _facts(entries: list[_Entry], shared: Options) -> list[str]:
    """What all runs share: the calibration, and the length of the sequences."""
    found = []
    options = [entry.run.options for entry in entries]
    data = {str(o.get("calib.dataset")) for o in options}
    sizes = {(o.get("calib.samples"), o.get("calib.seqlen")) for o in options}
    if len(data) == 1 and len(sizes) == 1 and None not in (size := next(iter(sizes))):
        (name,) = of_texts(list(data)).values()
        found.append(f"calibrated on {size[0]} sequences of {size[1]} tokens of {name}")
    length = dict(shared).get("tokens", "None")
    if length != "None":
        found.append(f"{length} tokens per sequence")
    return found
