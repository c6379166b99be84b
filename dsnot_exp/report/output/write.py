"""Write the files of a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dsnot_exp.report.build import Content
from dsnot_exp.report.output.csv import csv
from dsnot_exp.report.output.latex import latex
from dsnot_exp.report.output.markdown import markdown
from dsnot_exp.report.output.page import file_name, page
from dsnot_exp.report.output.provenance import commands, facts, warnings
from dsnot_exp.report.plot_style import KINDS
from dsnot_exp.report.plots import NAMES, pictures
from dsnot_exp.report.runs import Run
from dsnot_exp.utils.files import write_atomically

PICTURES = (*NAMES, "layer_errors")  # an older report's name


def write(
    folder: Path, name: str, runs: list[Run], content: Content, broken: Sequence[str]
) -> tuple[str, list[str]]:
    """Returns Markdown for the terminal and the files' names. Removes an older report's files."""
    tables = content.tables
    said = [*content.notes, *warnings(runs, broken)]
    text = "\n\n".join([*map(markdown, tables), *(f"Note: {line}" for line in said)])
    drawn = list(pictures(content.pictured or runs, content.ranked))
    files = {"table.md": text + "\n"}
    for number, table in enumerate(tables, 1):
        own = file_name(number)
        files |= {f"{own}.tex": latex(table, f"{own}.tex"), f"{own}.csv": csv(table)}
    sweeps = dict.fromkeys(str(run.options.get("sweep")) for run in runs)
    several = "s" if len(sweeps) > 1 else ""
    count = f"Sweep{several} {', '.join(sweeps)} · {len(runs)} run{'s' if len(runs) > 1 else ''}"
    files["index.html"] = page(name, count, tables, drawn, said, facts(runs), commands(runs))
    data = {file: content_.encode() for file, content_ in files.items()}
    for picture in drawn:
        data |= {f"{picture.name}.{kind}": data_ for kind, data_ in picture.files.items()}
    folder.mkdir(exist_ok=True)
    pictured = (folder / f"{p}.{kind}" for p in PICTURES for kind in KINDS)
    for old in [*folder.glob("table*.csv"), *folder.glob("table*.tex"), *pictured]:
        if old.name not in data:
            old.unlink(missing_ok=True)
    for file, bytes_ in data.items():
        write_atomically(folder / file, bytes_)
    return text, list(data)
