"""Prints the table and closing lines of a finished run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from dsnot_exp.results.stages import column_titles
from dsnot_exp.utils.console import console, say
from dsnot_exp.utils.words import percent, perplexity


def show_result(result: dict[str, Any], folder: Path) -> None:
    """Print the closing table (dense / pruned / refined), sparsity, times, and the run's folder."""
    metrics = result["metrics"]
    texts = result.get("data", {}).get("evaluation", {})
    rows = [(f"perplexity {_part(n, texts.get(n))}", v) for n, v in metrics["perplexity"].items()]
    for task, stages in metrics["zero_shot"].items():
        values = {stage: found.get("acc") for stage, found in stages.items()}
        rows.append((f"accuracy {task}", values))
    columns = column_titles(result)
    columns = {s: t for s, t in columns.items() if any(v.get(s) is not None for _, v in rows)}
    table = Table(title=folder.name, title_justify="left")
    table.add_column("")
    for stage, title in columns.items():
        # A narrow terminal may cut the name of a data set, but no number.
        widest = max(len(_number(name, values.get(stage))) for name, values in rows)
        table.add_column(title, justify="right", no_wrap=True, min_width=max(len(title), widest))
    for name, values in rows:
        table.add_row(name, *[_number(name, values.get(stage)) for stage in columns])
    if rows:
        console.print(table)
    for line in _closing_lines(result, folder):
        say(line)


def _part(name: str, record: dict[str, Any] | None) -> str:
    """A text, and how many of its sequences were evaluated if not all were."""
    total = (record or {}).get("of")
    return name if total is None else f"{name}, {(record or {})['sequences']} of {total} sequences"


def _number(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name.startswith("accuracy"):
        return percent(value)
    return perplexity(value)


def _mean(rows: list[dict[str, Any]], field: str) -> float | None:
    values = [row[field] for row in rows if row[field] is not None]
    return sum(values) / len(values) if values else None


def _closing_lines(result: dict[str, Any], folder: Path) -> Iterator[str]:
    sparsity, timing = result["sparsity"], result["timing_s"]
    for warning in result.get("warnings", []):
        yield f"warning   {warning}"
    yield (
        f"sparsity  {sparsity['achieved']:.4f} of the linear layers' weights, "
        f"{sparsity['of_all_block_weights']:.4f} of all matrices in the blocks"
    )
    if len(set(sparsity.get("targets", {}).values())) > 1:
        shares = sparsity["layers"].values()
        how = result["config"]["allocate"]["name"]
        yield f"layers    {min(shares):.4f} to {max(shares):.4f} of each layer, by allocate={how}"
    rows = [r for r in result["metrics"]["reconstruction"] if r["expected_before"] is not None]
    swapped = any(row["swaps"] for row in rows)
    for kind in ("relative", "expected"):
        before, after = (_mean(rows, f"{kind}_{when}") for when in ("before", "after"))
        if before is None:
            continue
        if swapped or before != after:  # the kept weights may have moved without a swap
            yield f"error     {kind}, mean over layers: {before:.4g} -> {after:.4g}"
        elif kind == "relative":
            yield f"error     {kind}, mean over layers: {after:.4g}"
    if choices := result["metrics"].get("max_cycles"):
        chosen = Counter(choice["chosen"] for choice in choices)
        told = ", ".join(f"{budget} in {count}" for budget, count in chosen.items())
        what = "swaps " if "max_swaps" in result["config"].get("refine", {}) else "cycles"
        yield f"{what}    chosen per block, on held-out tokens: {told} of {len(choices)} blocks"
    if fits := result["metrics"].get("block_reconstruction"):
        before, after = (
            sum(fit[f"error_{when}"] for fit in fits) / len(fits) for when in ("before", "after")
        )
        yield f"blocks    error on held-out tokens, mean over blocks: {before:.4g} -> {after:.4g}"
    times = result.get("resumed", 0)
    resumed = f" (resumed {times}x; sums over all processes)" if times else ""
    yield "seconds   " + ", ".join(f"{k} {v:.1f}" for k, v in timing.items() if v >= 0.05) + resumed
    yield f"memory    {result['memory']['peak_rss_bytes'] / 2**30:.2f} GiB peak RSS"
    yield f"files     {folder}"
