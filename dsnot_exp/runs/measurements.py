"""The parts of `show` that print what a run has measured: metrics, layers, costs, origins."""

from __future__ import annotations

from collections.abc import Iterator

from dsnot_exp.report.runs import Run, number
from dsnot_exp.results.stages import column_titles
from dsnot_exp.runs.kinds import by_kind
from dsnot_exp.runs.sheet import Sheet
from dsnot_exp.utils.words import amount, duration, percent, perplexity, size

HASHES = ("config_hash", "masks_sha256")
MOST_NOTES = 8


def metrics(sheet: Sheet, run: Run) -> None:
    """Perplexity and accuracy by stage."""
    titles = column_titles(run.result)
    rows = [(name, cells) for name, cells in _metric_rows(run, list(titles))]
    if not rows:
        return
    sheet.section("Metrics")
    used = [i for i in range(len(titles)) if any(cells[i] for _, cells in rows)]
    head = [list(titles.values())[i] for i in used]
    sheet.table(("", *head), [(n, *(cells[i] for i in used)) for n, cells in rows], "l" + "r" * 3)
    for task, why in run.result["failed"].items():
        sheet.note(f"{task} failed: {why}")


def _metric_rows(run: Run, stages: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Perplexity by text and accuracy by task, with its standard error."""
    for text in run.result["metrics"]["perplexity"]:
        values = [run.metric("perplexity", text, stage) for stage in stages]
        yield f"perplexity {text}", ["" if v is None else perplexity(v) for v in values]
    for task, found in run.result["metrics"]["zero_shot"].items():
        for key in ("acc", "acc_norm"):
            cells = []
            for stage in stages:
                value = run.metric("zero_shot", task, stage, key)
                deviation = number((found.get(stage) or {}).get(f"{key}_stderr"))
                cells.append("" if value is None else percent(value, deviation))
            if any(cells):
                yield f"{'accuracy' if key == 'acc' else key} {task}", cells


def kinds(sheet: Sheet, run: Run) -> None:
    """Sparsity and errors of the layers, by their kind, and what their methods noted."""
    found = by_kind(run.result)
    if not found:
        return
    sheet.section("Layers by kind: means, error before and after refinement")
    rows = []
    for kind in found:
        share = "" if kind.sparsity is None else f"{kind.sparsity:.4f}"
        errors = ["" if value is None else amount(value) for value in kind.errors.values()]
        rows.append((kind.name, str(kind.layers), share, *errors, str(kind.swaps or "")))
    head = ("kind", "layers", "sparsity", "relative", "after", "expected", "after", "swaps")
    sheet.table(head, rows, "lrrrrrrr")
    if notes := run.result["notes"]:
        for layer, note in list(notes.items())[:MOST_NOTES]:
            sheet.note(f"{layer}: {note}")
        if len(notes) > MOST_NOTES:
            sheet.note(f"and {len(notes) - MOST_NOTES} more notes in result.json")


def costs(sheet: Sheet, run: Run) -> None:
    """Time by phase and peaks of memory."""
    times = {k: v for k, v in run.result["timing_s"].items() if number(v) is not None}
    memory = run.result["memory"]
    if not times and not memory:
        return
    sheet.section("Time and memory")
    phases = [f"{name} {duration(value)}" for name, value in times.items() if value >= 0.05]
    if phases:
        sheet.line("time", ", ".join(phases))
    reused = [*run.result.get("reused_stages", []), *run.result.get("reused", [])]
    if reused:
        sheet.line("reused", f"{', '.join(reused)}: found by earlier runs, not in these times")
    if resumed := run.result.get("resumed"):
        sheet.line("resumed", f"{resumed}x; the times are sums over all processes")
    told = [(memory.get("peak_rss_bytes"), "RSS"), (memory.get("peak_device_bytes"), "device")]
    peaks = [f"{size(int(count))} {where}" for count, where in told if count]
    if peaks:
        sheet.line("memory", f"peak {', '.join(peaks)}")


def origins(sheet: Sheet, run: Run) -> None:
    """Versions, the data sets, and hashes."""
    result = run.result
    sheet.section("Versions, data and hashes")
    seen = {k: v for k, v in result["environment"].items() if v is not None}
    sheet.line("versions", ", ".join(f"{key} {value}" for key, value in seen.items()))
    data = result.get("data") or {}
    sources = {"calibration": data.get("calibration"), "finetune": data.get("finetune")}
    for name, one in (sources | (data.get("evaluation") or {})).items():
        if isinstance(one, dict):
            told = f"{one.get('sequences')} x {one.get('seqlen')} tokens of {one.get('dataset')}"
            sheet.line(name, f"{told}, sha256 {str(one.get('tokens_sha256'))[:16]}")
    for key in HASHES:
        sheet.line(key, str(result.get(key) or "none"))
