"""The plot of what an allocator gave to each layer: a heat map, blocks by linears."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dsnot_exp.methods.notation import N_OF_M, pruned_share
from dsnot_exp.report.layers import OUTSIDE, Map, mean, place_of, short
from dsnot_exp.report.names import of_model
from dsnot_exp.report.plot_style import Drawn, canvas
from dsnot_exp.report.runs import Run, number

MOST = 4  # panels


def allocation(runs: Sequence[Run]) -> Drawn:
    """One panel per allocation. None if no run gives its layers different sparsities."""
    found: list[tuple[Run, Map]] = []
    for run in runs:
        cells = _cells(run)
        if len(set(cells.values())) > 1 and all(cells != known for _, known in found):
            found.append((run, cells))
    if not found:
        return None
    titles = [_title(run) for run, _ in found]
    # Those that differ in more than a seed come first.
    order = sorted(range(len(found)), key=lambda index: titles[:index].count(titles[index]))
    shown = [found[index] for index in order[:MOST]]
    figure, axes = canvas(1, len(shown), 2.6 + 2.4 * len(shown), 4.2)
    values = [value for _, cells in shown for value in cells.values()]
    for axis, (run, cells) in zip(axes.flat, shown, strict=True):
        image = _panel(axis, run, cells, (min(values), max(values)))
    axes.flat[0].set_ylabel("block")
    figure.colorbar(image, ax=list(axes.flat), label="sparsity", shrink=0.8, format="%.2g")
    text = "The sparsity that the allocator gave to each linear layer, by block."
    if any("*" in linear for _, cells in shown for _, linear in cells):
        text += " Experts: the mean over the experts of a block."
    if len(shown) < len(found):
        text += f" Shown: {len(shown)} of {len(found)} allocations."
    return "allocation", text, figure


def _cells(run: Run) -> Map:
    targets = run.result["sparsity"].get("targets")
    parts: dict[tuple[int, str], list[float]] = {}
    for layer, amount in targets.items() if isinstance(targets, dict) else ():
        place, value = place_of(str(layer)), _share(amount)
        if place[1] != OUTSIDE and value is not None:
            parts.setdefault(place, []).append(value)
    return {cell: round(value, 6) for cell, value in mean(parts).items()}


def _share(amount: Any) -> float | None:
    read = N_OF_M.fullmatch(amount) if isinstance(amount, str) else None
    if read is None:
        return number(amount)
    return pruned_share(int(read[1]), int(read[2])) if int(read[2]) else None


def _panel(axis: Any, run: Run, cells: Map, span: tuple[float, float]) -> Any:
    blocks = sorted({block for block, _ in cells})
    names = list(dict.fromkeys(linear for _, linear in cells))
    grid = [[cells.get((block, name), float("nan")) for name in names] for block in blocks]
    image = axis.imshow(
        grid, aspect="auto", cmap="viridis", vmin=span[0], vmax=span[1], interpolation="nearest"
    )
    axis.grid(visible=False)
    labels = short(names)
    axis.set_xticks(range(len(names)), [labels[name] for name in names], rotation=90)
    step = max(1, len(blocks) // 16)
    axis.set_yticks(range(len(blocks))[::step], blocks[::step])
    axis.set_title(_title(run), fontsize=8.5)
    return image


def _title(run: Run) -> str:
    return f"{of_model(run.options)}, {run.options.get('allocate.name')}, {run.budget}"
