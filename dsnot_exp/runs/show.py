"""Print everything about one run that a person asks for."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from dsnot_exp.report.runs import Run, number
from dsnot_exp.results.file import LOG, flatten
from dsnot_exp.results.method_names import pretty
from dsnot_exp.results.sizes import sizes
from dsnot_exp.runs.defaults import differing
from dsnot_exp.runs.files import contents, kept
from dsnot_exp.runs.find import Found, logged_options
from dsnot_exp.runs.kinds import by_kind
from dsnot_exp.runs.measurements import costs, kinds, metrics, origins
from dsnot_exp.runs.sheet import Sheet
from dsnot_exp.runs.weights import weight_lines
from dsnot_exp.utils.files import bytes_of
from dsnot_exp.utils.wanted import shown
from dsnot_exp.utils.words import moment, size


def as_json(found: Found, speed: dict[str, Any] | None = None) -> str:
    """The same as one JSON object; `result` is the whole result.json."""
    run = found.run
    content: dict[str, Any] = {
        "folder": str(found.folder),
        "state": found.state,
        "error": found.why or None,
        "resumable": found.resumable,
        "files": contents(found.folder),
        "weights": sizes(found.folder),
        "speed": speed,
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


def show(found: Found, speed: dict[str, Any] | None = None) -> None:
    """speed: what `measured` returns; None: not measured"""
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
        metrics(sheet, found.run)
        kinds(sheet, found.run)
        costs(sheet, found.run)
        origins(sheet, found.run)
    _files(sheet, found)
    for key, text in weight_lines(found, speed):
        sheet.line(key, text)


def _about(sheet: Sheet, run: Run) -> None:
    result, model = run.result, run.result["model"]
    told = [run.model]
    if revision := model.get("revision"):
        told.append(f"revision {revision}")
    for key, what in (("parameters", "parameters"), ("prunable_parameters", "of them prunable")):
        if (count := number(model.get(key))) is not None:
            told.append(f"{count / 1e6:.2f} M {what}")
    sheet.line("model", ", ".join(told))
    sheet.line("method", pretty(run.variant))
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


def _files(sheet: Sheet, found: Found) -> None:
    sheet.section("Files")
    rows = [(name, size(count)) for name, count in contents(found.folder).items()]
    place = kept(found.folder, found.run.result) if found.run is not None else None
    if place is not None:
        rows.append((f"{place} (shared)", size(bytes_of(place))))
    sheet.table(("file", "size"), rows, "lr")
