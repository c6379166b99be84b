"""Print everything about one run that a person asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dsnot_exp.report.runs import Run, number
from dsnot_exp.results.file import LOG, flatten
from dsnot_exp.results.stages import column_titles
from dsnot_exp.runs.defaults import differing
from dsnot_exp.runs.files import contents, kept, size_of
from dsnot_exp.runs.find import Found, logged_options
from dsnot_exp.runs.kinds import by_kind
from dsnot_exp.runs.sheet import Sheet
from dsnot_exp.runs.words import amount, duration, moment, percent, perplexity, size
from dsnot_exp.utils.wanted import shown

HASHES = ("config_hash", "masks_sha256")


def as_json(found: Found) -> str:
    """The same as one JSON object; `result` is the whole result.json."""
    run = found.run
    content: dict[str, Any] = {
        "folder": str(found.folder),
        "state": found.state,
        "error": found.why or None,
        "resumable": found.resumable,
        "files": contents(found.folder),
    }
    if run is None:
        content |= {"config": logged_options(found.folder) or None, "result": None}
    else:
        options, unknown = differing(run)
        content["differs"] = {k: {"value": v, "default": d} for k, (v, d) in options.items()}
        content["defaults_unknown"] = unknown or None
        content["kinds"] = [asdict(kind) for kind in by_kind(run.result)]
        content["result"] = run.result
    return json.dumps(content, indent=1)


def show(found: Found) -> None:
    sheet = Sheet()
    sheet.title(found.folder.absolute().name)
    sheet.line("folder", str(found.folder))
    when = f", {moment(found.date)}" if found.date else ""
    resumable = "; the same command resumes it" if found.resumable else ""
    sheet.line("state", f"{found.state}{when}{resumable}")
    if found.why:
        sheet.line("error", found.why)
    if found.run is None:
        _options_of_log(sheet, found)
    else:
        _about(sheet, found.run)
        _options(sheet, found.run)
        _metrics(sheet, found.run)
        _kinds(sheet, found.run)
        _costs(sheet, found.run)
        _origins(sheet, found.run)
    _files(sheet, found)


def _about(sheet: Sheet, run: Run) -> None:
    result, model = run.result, run.result["model"]
    told = [run.model]
    if revision := model.get("revision"):
        told.append(f"revision {revision}")
    for key, what in (("parameters", "parameters"), ("prunable_parameters", "of them prunable")):
        if (count := number(model.get(key))) is not None:
            told.append(f"{count / 1e6:.2f} M {what}")
    sheet.line("model", ", ".join(told))
    sheet.line("method", run.variant)
    sparsity = result["sparsity"]
    if (achieved := number(sparsity.get("achieved"))) is not None:
        of_all = number(sparsity.get("of_all_block_weights"))
        more = f"; {of_all:.4f} of all matrices in the blocks" if of_all is not None else ""
        asked = f"{run.budget} asked, " if run.method != "dense" else ""
        sheet.line("sparsity", f"{asked}{achieved:.4f} of the pruned layers{more}")
    sheet.line("command", str(result.get("command") or "not recorded"))
    for warning in result.get("warnings") or []:
        sheet.line("warning", str(warning))


def _options(sheet: Sheet, run: Run) -> None:
    options, unknown = differing(run)
    if unknown:
        sheet.section("Options that were typed")
        sheet.note(f"the defaults are unknown: {unknown}")
    else:
        sheet.section("Options that differ from the defaults")
    rows = [(key, _value(value), _value(default)) for key, (value, default) in options.items()]
    if not rows:
        sheet.note("none")
    elif unknown:
        sheet.table(("option", "value"), [row[:2] for row in rows], "ll")
    else:
        sheet.table(("option", "value", "default"), rows, "lll")


def _options_of_log(sheet: Sheet, found: Found) -> None:
    options = {k: v for k, v in flatten(logged_options(found.folder)).items() if v not in ({}, [])}
    if options:
        sheet.section("Options, as its log states them")
        sheet.table(("option", "value"), [(k, _value(v)) for k, v in options.items()], "ll")
    if (found.folder / LOG).exists():
        sheet.section("Log")
        sheet.note(str(found.folder / LOG))


def _value(value: Any) -> str:
    return f"[{','.join(map(shown, value))}]" if isinstance(value, list) else shown(value)


def _metrics(sheet: Sheet, run: Run) -> None:
    titles = column_titles(run.result)
    rows = [(name, cells) for name, cells in metric_rows(run, list(titles))]
    if not rows:
        return
    sheet.section("Metrics")
    used = [i for i in range(len(titles)) if any(cells[i] for _, cells in rows)]
    head = [list(titles.values())[i] for i in used]
    sheet.table(("", *head), [(n, *(cells[i] for i in used)) for n, cells in rows], "l" + "r" * 3)
    for task, why in run.result["failed"].items():
        sheet.note(f"{task} failed: {why}")


def metric_rows(run: Run, stages: list[str]) -> Iterator[tuple[str, list[str]]]:
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


def _kinds(sheet: Sheet, run: Run) -> None:
    kinds = by_kind(run.result)
    if not kinds:
        return
    sheet.section("Layers by kind: means, error before and after refinement")
    rows = []
    for kind in kinds:
        share = "" if kind.sparsity is None else f"{kind.sparsity:.4f}"
        errors = ["" if value is None else amount(value) for value in kind.errors.values()]
        rows.append((kind.name, str(kind.layers), share, *errors, str(kind.swaps or "")))
    head = ("kind", "layers", "sparsity", "relative", "after", "expected", "after", "swaps")
    sheet.table(head, rows, "lrrrrrrr")
    if notes := run.result["notes"]:
        for layer, note in list(notes.items())[:8]:
            sheet.note(f"{layer}: {note}")
        if len(notes) > 8:
            sheet.note(f"and {len(notes) - 8} more notes in result.json")


def _costs(sheet: Sheet, run: Run) -> None:
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


def _origins(sheet: Sheet, run: Run) -> None:
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


def _files(sheet: Sheet, found: Found) -> None:
    sheet.section("Files")
    rows = [(name, size(count)) for name, count in contents(found.folder).items()]
    place = kept(found.folder, found.run.result) if found.run is not None else None
    if place is not None:
        rows.append((f"{place} (shared)", size(size_of(place))))
    sheet.table(("file", "size"), rows, "lr")
