"""The layout of every sweep's table. An axis is a property of a run (model, method, initializer,
budget) or any of its options by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dsnot_exp.report.composition import first
from dsnot_exp.report.runs import VARIANT, Run

MODELS = (
    "llama-7b", "llama-13b", "llama-30b", "llama-65b",
    "llama2-7b", "llama2-13b", "llama2-70b", "vicuna-13b", "opt-13b",
)  # fmt: skip
PRUNED = (
    "magnitude", "magnitude+dsnot", "sparsegpt", "sparsegpt+dsnot", "wanda", "wanda+dsnot",
)  # fmt: skip
METHODS = ("dense", *PRUNED)
ADAPTED = ("{}", "{}+dsnot", "{}+lora", "{}+dsnot+lora")  # for every initializer that was run
BUDGETS = ("50 %", "60 %", "70 %", "80 %", "90 %")
CRITERIA = (
    "mean_over_var", "mean", "signed_wanda", "wanda", "signed_magnitude", "magnitude", "random",
)  # fmt: skip
TINY = "_tiny"


@dataclass(frozen=True)
class Layout:
    """Rows, columns and content of a table.

    order: values of an axis that are always shown, run or not; other values follow
    apart: runs without refinement are not on the axes; they are listed below the table
    best: mark the best value of each column
    digits: decimals, and decimals if all runs use the bundled model
    sort: keys by which the values of an axis are sorted
    varied: options that the sweep varies one at a time, each in a table of its own
    study: the one of them that this table shows; None: the main table
    only: show these values of an axis, if there are any
    changes: show the change by refinement in every cell
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...] = ()
    measure: str = "perplexity"
    order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    apart: bool = False
    best: bool = True
    digits: tuple[int, int] = (2, 3)
    sort: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    varied: tuple[str, ...] = ()
    study: str | None = None
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    changes: bool = False

    @property
    def axes(self) -> tuple[str, ...]:
        return (*self.rows, *self.columns)


def _line(title: str, option: str, methods: str = "initializer", best: bool = True) -> Layout:
    return Layout(title, (option,), ("model", methods, "budget"), best=best)


_METHODS: dict[str, tuple[str, ...]] = {"method": METHODS}
LAYOUTS = {
    "table1": Layout("Perplexity", ("method",), ("model",), order=_METHODS | {"model": MODELS}),
    "table2": Layout("Perplexity", ("method",), ("budget",), order=_METHODS | {"budget": BUDGETS}),
    "nm": Layout("Perplexity, N:M", ("method",), ("budget", "model"), order=_METHODS),
    "zero_shot": Layout(
        "Zero-shot accuracy", ("model", "method"), measure="accuracy", order=_METHODS, digits=(2, 2)
    ),
    "runtime": Layout(
        "Running time", ("model", "method"), measure="seconds",
        order={"method": PRUNED}, best=False, digits=(1, 3),
    ),
    "lora": Layout(
        "DSnoT and LoRA", ("method",), ("model", "budget"), order={"method": ADAPTED}
    ),
    "criteria": Layout(
        "Criteria for growing (rows) and pruning (columns)", ("refine.grow",),
        ("model", "initializer", "budget", "refine.prune"), apart=True,
    ),
    "threshold": _line("Update threshold", "refine.update_threshold"),
    "cycles": _line("Maximum cycles", "refine.max_cycles"),
    "cycles_nm": _line("Maximum cycles", "refine.max_cycles"),
    "samples": _line("Calibration samples", "calib.samples", "method"),
    "seeds": _line("Seeds", "seed", "method", best=False),
}  # fmt: skip


def _by_initializer(variant: str) -> int:
    name = first(variant)
    return ("dense", "magnitude", "wanda", "sparsegpt", name).index(name)


def _real(title: str, rows: str, *columns: str, study: str | None = None) -> Layout:
    sort = {VARIANT: _by_initializer, "budget": lambda budget: ":" in budget}
    varied = ("refine.max_cycles", "calib.samples", "seed")
    return Layout(title, (rows,), columns, sort=sort, varied=varied, study=study, changes=True)


# `real` has a main table, and a table for each of the options that it varies one at a time.
LAYOUTS["frontier"] = Layout(
    "Perplexity", (VARIANT,), ("budget",), order={VARIANT: ("dense",)},
    sort={VARIANT: _by_initializer, "budget": lambda budget: ":" in budget},
)  # fmt: skip
LAYOUTS["real"] = replace(_real("Perplexity", VARIANT, "budget"), order={VARIANT: ("dense",)})
FURTHER = {
    "real": (
        _real(
            "Maximum cycles", "refine.max_cycles", "initializer", "budget",
            study="refine.max_cycles",
        ),
        _real("Calibration samples", "calib.samples", "budget", VARIANT, study="calib.samples"),
        _real("Seeds", VARIANT, "budget", study="seed"),
        replace(
            _real("Running time", VARIANT), measure="seconds", only={"budget": ("60 %",)},
            best=False, changes=False, digits=(1, 3),
        ),
    )
}  # fmt: skip


def further(name: str | None) -> tuple[Layout, ...]:
    """The layouts of a sweep's tables after the first."""
    return FURTHER.get((name or "").removesuffix(TINY), ())


def named(name: str | None) -> Layout | None:
    """The layout of a sweep's first table. A `_tiny` sweep has the same layout without the papers'
    models."""
    layout = LAYOUTS.get((name or "").removesuffix(TINY))
    if layout is None or not str(name).endswith(TINY):
        return layout
    order = {axis: values for axis, values in layout.order.items() if axis != "model"}
    return replace(layout, order=order)


def sort_out(runs: list[Run], folder: str) -> dict[str | None, list[Run]]:
    """Runs by the name of their layout, or None if they have no layout. A run without a sweep name
    takes the folder's name."""
    found: dict[str | None, list[Run]] = {}
    for run in runs:
        sweep = run.options.get("sweep")
        name = folder if sweep in (None, "", "runs") else str(sweep)
        found.setdefault(name if named(name) else None, []).append(run)
    return found
