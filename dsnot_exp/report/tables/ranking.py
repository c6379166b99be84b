"""Compositions of one study, ranked by perplexity, with what each costs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from dsnot_exp.methods.prune.options import SparseGPTOptions
from dsnot_exp.report.composition import composition, methods, target
from dsnot_exp.report.runs import Run, in_order
from dsnot_exp.report.tables.comparison import Setting, by_setting, recipe_of, same_weights
from dsnot_exp.report.tables.costs import forwards, mean, memory, walked_twice, with_allocation
from dsnot_exp.report.tables.measures import MEASURES, names_of
from dsnot_exp.report.tables.table import Cell, Measured, average, pool

REFERENCE = "sparsegpt"
USUAL = {f"prune.{option}": value for option, value in asdict(SparseGPTOptions()).items()}
PAPERS = {"", "magnitude", "wanda", "sparsegpt", "dsnot", "dsnot_official", "lora"}
NO_PAIR = "no SparseGPT"


@dataclass(frozen=True)
class Standing:
    """One composition. Each cell is the mean over seeds.

    ratio: the gap to the dense perplexity over SparseGPT's gap with the same seed
    accuracy: zero-shot mean, in percent
    forwards, over: seconds of the phase `calibrate`, and of the method's other phases
    memory: peak, in GiB: of the device, on a CPU of the process
    """

    name: str
    perplexity: Cell
    ratio: Cell
    accuracy: Cell
    forwards: Cell
    over: Cell
    memory: Cell


@dataclass(frozen=True)
class Ranking:
    """Compositions at one sparsity, best first: one model, calibration and text.

    dense, dense_accuracy: of the dense model
    compared: SparseGPT was run, so there are ratios
    twice: the number of runs whose seconds include a second walk, for the pruned stage
    """

    run: Run  # any of them
    text: str
    dense: float | None
    dense_accuracy: float | None
    compared: bool
    standings: list[Standing]
    twice: int


def beyond(run: Run) -> bool:
    """Whether a run has more than the papers' pruners, DSnoT and LoRA, whose studies have tables
    of their own."""
    return bool(target(run.options)) or not set(methods(run.options).split("+")) <= PAPERS


def rankings(runs: Sequence[Run]) -> Iterator[Ranking]:
    """A ranking for each model, calibration, text and sparsity with two compositions or more."""
    texts = names_of("perplexity", "eval.perplexity", runs)
    for text in texts:
        measured = [run for run in runs if run.metric("perplexity", text, "refined") is not None]
        dense = [run for run in measured if run.method == "dense"]
        groups = by_setting([run for run in measured if run.method != "dense"], text)
        budgets = in_order([setting.budget for setting in groups])
        ordered = sorted(groups, key=lambda s: (":" in s.budget, budgets.index(s.budget)))
        for setting in ordered:
            entries = _entries(groups[setting])
            if len(entries) > 1:
                yield _ranking(setting, entries, dense)


def _entries(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each composition, which differ in their seeds only. Options that the name does
    not tell are added where they make a difference."""
    recipes: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        recipes.setdefault(recipe_of(run), []).append(run)
    found: dict[str, list[Run]] = {}
    for recipe, members in recipes.items():
        name = members[0].variant
        others = [dict(other) for other, same in recipes.items() if same[0].variant == name]
        own = dict(recipe)
        keys = sorted({key for other in others for key in other})
        told = [key for key in keys if len({str(other.get(key)) for other in others}) > 1]
        more = [f"{key}={own.get(key, 'not recorded')}" for key in told]
        found[", ".join([name, *more])] = members
    return found


def _ranking(setting: Setting, entries: dict[str, list[Run]], dense: Sequence[Run]) -> Ranking:
    text = setting.text
    runs = [run for members in entries.values() for run in members]
    tasks = names_of("zero_shot", "eval.tasks", runs)
    beside = [run for run in dense if same_weights(run, runs[0], text)]
    level = _first(_dense(run, text) for run in [*runs, *beside])
    accurate = _first(_accuracy(tasks, run, "dense") for run in [*runs, *beside])
    reference = next((members for members in entries.values() if _plain(members[0])), [])
    gaps = {seed: v - level for seed, v in _by_seed(reference, text).items() if level is not None}
    over = with_allocation(runs)
    standings = [
        Standing(
            name,
            pool(members, partial(_perplexity, text)),
            _ratio(_by_seed(members, text), level, gaps),
            pool(members, partial(_accuracy, tasks)),
            mean(members, forwards),
            mean(members, over),
            mean(members, memory),
        )
        for name, members in entries.items()
    ]
    standings.sort(key=lambda one: one.perplexity.value or 0.0)
    return Ranking(
        runs[0], text, level, accurate, bool(gaps), standings, sum(map(walked_twice, runs))
    )


def _ratio(values: dict[str, float], dense: float | None, gaps: dict[str, float]) -> Cell:
    pairs = [(v, gaps[s]) for s, v in values.items() if gaps.get(s, 0.0) > 0]
    if dense is None or not pairs:
        return Cell(words=NO_PAIR)
    found = [(value - dense) / gap for value, gap in pairs]
    spread = statistics.stdev(found) if len(found) > 1 else None
    return Cell(statistics.fmean(found), spread=spread, n=len(found))


def _by_seed(runs: Sequence[Run], text: str) -> dict[str, float]:
    """The perplexity for each seed; of two runs with one seed, the first counts, as in `pool`."""
    found: dict[str, float] = {}
    for run in runs:
        value = run.metric("perplexity", text, "refined")
        if value is not None:
            found.setdefault(str(run.options.get("seed")), value)
    return found


def _plain(run: Run) -> bool:
    """Whether a run is SparseGPT with its own defaults and nothing else."""
    usual = all(run.options.get(key, value) == value for key, value in USUAL.items())
    return composition(run.options) == REFERENCE and usual


def _perplexity(text: str, run: Run) -> Measured | None:
    return MEASURES["perplexity"].of(run, text, "refined")


def _dense(run: Run, text: str) -> float | None:
    stage = "refined" if run.method == "dense" else "dense"
    return run.metric("perplexity", text, stage)


def _accuracy(tasks: Sequence[str], run: Run, stage: str = "refined") -> Measured | None:
    stage = "refined" if run.method == "dense" else stage
    return average(MEASURES["accuracy"].of(run, task, stage) for task in tasks)


def _first(values: Iterable[float | Measured | None]) -> float | None:
    found = next((value for value in values if value is not None), None)
    return found.value if isinstance(found, Measured) else found
