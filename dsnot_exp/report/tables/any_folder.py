"""The table of any folder: one row per run, sorted by the options that vary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from dsnot_exp.config import WITHOUT_EFFECT
from dsnot_exp.report.composition import methods
from dsnot_exp.report.runs import Run, in_order, number
from dsnot_exp.report.tables.groups import comparable
from dsnot_exp.report.tables.published import Published, Where, find
from dsnot_exp.report.tables.table import NOT_MEASURED, Cell, Measured, Table, pool, with_marks

SEEDS = "Over seeds"
WIDEST = 40  # maximum characters of an option's value


def tables(runs: Sequence[Run], means: bool = True) -> Iterator[Table]:
    """For each group of comparable runs, a table of all runs, and, unless `means` is false, one of
    the means of runs that differ only in their seed."""
    for group in comparable(runs):
        yield from _of(group, means)


def _of(runs: Sequence[Run], means: bool) -> Iterator[Table]:
    keys = varied(runs)
    ranks = [{str(v): i for i, v in enumerate(in_order([r.options.get(k) for r in runs]))}
             for k in keys]  # fmt: skip
    ordered = sorted(runs, key=lambda run: _rank(run, keys, ranks))
    yield _table("Runs", _texts(runs), keys, [[run] for run in ordered])
    without = [key for key in keys if key != "seed"]
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in ordered:
        groups.setdefault(tuple(str(run.options.get(k)) for k in without), []).append(run)
    several = [g for g in groups.values() if len({r.options.get("seed") for r in g}) > 1]
    if several and means:
        yield _table(SEEDS, "mean ± standard deviation", without, several)


def _texts(runs: Sequence[Run]) -> str:
    names = dict.fromkeys(n for run in runs for n in run.result["metrics"]["perplexity"])
    measured = {run.measured_on for run in runs if run.seqlen}
    if not names or len(measured) != 1:
        return "one row per run"
    return f"one row per run; {', '.join(names)}, {measured.pop()}"


def varied(runs: Sequence[Run]) -> list[str]:
    """The options that differ between the runs."""
    keys = dict.fromkeys(key for run in runs for key in run.options)
    found = []
    for key in (key for key in keys if key.split(".")[0] not in WITHOUT_EFFECT):
        known = {str(run.options[key]) for run in runs if key in run.options}
        everywhere = all(key in run.options for run in runs)
        group = f"{key.rpartition('.')[0]}.name"
        follows = group != key and len({str(run.options.get(group)) for run in runs}) > 1
        if len(known) > 1 or not (everywhere or follows):  # a method's name implies its options
            found.append(key)
    return found


def numbers(run: Run) -> dict[str, float]:
    """One run's numbers by column."""
    metrics = run.result["metrics"]
    found = {"achieved": number(run.result["sparsity"].get("achieved"))}
    for name, stages in metrics["perplexity"].items():
        found |= {f"{name} {stage}": run.metric("perplexity", name, stage) for stage in stages}
    for task, stages in metrics["zero_shot"].items():
        found |= {f"{task} {s}": run.metric("zero_shot", task, s, "acc") for s in stages}
    for kind in ("relative", "expected"):
        for when in ("before", "after"):
            values = [number(row.get(f"{kind}_{when}")) for row in metrics["reconstruction"]]
            known = [value for value in values if value is not None]
            if known:
                found[f"{kind} error {when}"] = sum(known) / len(known)
    return {name: value for name, value in found.items() if value is not None}


def _table(title: str, caption: str, keys: list[str], groups: list[list[Run]]) -> Table:
    columns = list(dict.fromkeys(name for group in groups for r in group for name in numbers(r)))
    cells = [[_cell(group, name) for name in columns] for group in groups]
    shown = [_short([_option(group[0], key) for group in groups]) for key in keys]
    names = [(group[0].path.parent.name,) for group in groups]
    labels: list[tuple[str, ...]] = list(zip(*shown, strict=True)) if keys else list(names)
    heads = tuple(keys) or ("run",)
    return with_marks(
        Table("", title, caption, heads, labels, _columns(columns), cells, joined=False)
    )


def _cell(runs: list[Run], name: str) -> Cell:
    def measure(run: Run) -> Measured | None:
        value = numbers(run).get(name)
        return None if value is None else Measured(value)

    cell = pool(runs, measure)
    words = "" if cell.words == NOT_MEASURED else cell.words
    return Cell(cell.value, words, cell.spread, cell.n, _published(runs[0], name))


def _published(run: Run, column: str) -> Published | None:
    name, _, stage = column.rpartition(" ")
    before = methods(run.options, without=("refine", "reconstruct", "finetune"))
    known = {"dense": "dense", "pruned": before, "refined": run.method}
    if stage not in known or name not in run.result["metrics"]["perplexity"]:
        return None
    where = Where("perplexity", name, run.model, known[stage], run.budget, run.seqlen, run.options)
    return find(where)[0]


def _rank(run: Run, keys: list[str], ranks: list[dict[str, int]]) -> list[int]:
    return [rank[str(run.options.get(key))] for key, rank in zip(keys, ranks, strict=True)]


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _option(run: Run, key: str) -> str:
    return _text(run.options[key]) if key in run.options else ""


def _short(values: list[str]) -> list[str]:
    """Strip the folders that all paths share. Cut the middle out of long values."""
    folders = [v.split("/")[:-1] for v in dict.fromkeys(values) if "/" in v]
    common = 0
    while len(folders) > 1 and all(
        len(f) > common and f[common] == folders[0][common] for f in folders
    ):
        common += 1
    short = ["/".join(v.split("/")[common:]) if "/" in v else v for v in values]
    half = WIDEST // 2 - 1
    cut = [v if len(v) <= WIDEST else f"{v[:half]} … {v[-half:]}" for v in short]
    return cut if len(set(cut)) == len(set(values)) else short


def _columns(names: list[str]) -> list[str]:
    """Shorten `/a/b/test.safetensors refined` to the file's name if that is unambiguous."""
    short = [name.rpartition("/")[2] for name in names]
    count = Counter(short)
    return [s if count[s] == 1 else name for s, name in zip(short, names, strict=True)]
