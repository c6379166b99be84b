"""What stands where in the table of a sweep. An axis is a property of a run (model, method,
initializer, budget) or any of its options by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dsnot_exp.report.runs import Run

MODELS = (
    "llama-7b", "llama-13b", "llama-30b", "llama-65b",
    "llama2-7b", "llama2-13b", "llama2-70b", "vicuna-13b", "opt-13b",
)  # fmt: skip
PRUNED = (
    "magnitude", "magnitude+dsnot", "sparsegpt", "sparsegpt+dsnot", "wanda", "wanda+dsnot",
)  # fmt: skip
METHODS = ("dense", *PRUNED)
ADAPTED = ("{}", "{}+dsnot", "{}+lora", "{}+dsnot+lora")  # of every initializer that was run
BUDGETS = ("50 %", "60 %", "70 %", "80 %", "90 %")
CRITERIA = (
    "mean_over_var", "mean", "signed_wanda", "wanda", "signed_magnitude", "magnitude", "random",
)  # fmt: skip
TINY = "_tiny"


@dataclass(frozen=True)
class Layout:
    """`order`: what a table shows in any case, run or not; what else was run comes after it.
    `stages`: the parts of a run's time. `apart`: runs without refinement have no place on the
    axes; they are named beneath. `digits`: decimals, and those of the bundled model."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...] = ()
    measure: str = "perplexity"
    order: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    apart: bool = False
    best: bool = True
    digits: tuple[int, int] = (2, 3)

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
        "Criteria of growing (rows) and pruning (columns)", ("refine.grow",),
        ("model", "initializer", "budget", "refine.prune"), apart=True,
    ),
    "threshold": _line("Update threshold", "refine.update_threshold"),
    "cycles": _line("Cycles at most", "refine.max_cycles"),
    "cycles_nm": _line("Cycles at most", "refine.max_cycles"),
    "samples": _line("Calibration samples", "calib.samples", "method"),
    "seeds": _line("Seeds", "seed", "method", best=False),
}  # fmt: skip


def named(name: str | None) -> Layout | None:
    """The layout of a sweep, also of its small form, whose models are its own."""
    layout = LAYOUTS.get((name or "").removesuffix(TINY))
    if layout is None or not str(name).endswith(TINY):
        return layout
    order = {axis: values for axis, values in layout.order.items() if axis != "model"}
    return replace(layout, order=order)


def sort_out(runs: list[Run], folder: str) -> dict[str | None, list[Run]]:
    """Runs by the layout that they belong to, None for those that no layout knows. A run whose
    sweep has no name of its own belongs to the folder's."""
    found: dict[str | None, list[Run]] = {}
    for run in runs:
        sweep = run.options.get("sweep")
        name = folder if sweep in (None, "", "runs") else str(sweep)
        found.setdefault(name if named(name) else None, []).append(run)
    return found
