"""Write the files of a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dsnot_exp.report.composition import target
from dsnot_exp.report.output.formats import csv, latex, markdown
from dsnot_exp.report.output.page import page
from dsnot_exp.report.output.provenance import commands, facts, warnings
from dsnot_exp.report.plots import pictures
from dsnot_exp.report.runs import VARIANT, Run
from dsnot_exp.report.tables.ranking import Ranking
from dsnot_exp.report.tables.table import Table
from dsnot_exp.utils.files import write_atomically

PICTURES = ("quality_cost", "perplexity_sparsity", "layer_errors", "time_memory")


def write(
    folder: Path,
    name: str,
    runs: list[Run],
    tables: list[Table],
    notes: Sequence[str],
    broken: Sequence[str],
    shown: Sequence[Run] = (),
    ranked: Sequence[Ranking] = (),
) -> tuple[str, list[str]]:
    """Returns Markdown for the terminal and the files' names. Removes an older report's files.
    shown: the runs of the main table, if the other tables vary one option each
    ranked: the rankings of the tables, for the plot of quality against cost"""
    said = [*notes, *warnings(runs, broken)]
    text = "\n\n".join([*map(markdown, tables), *(f"Note: {line}" for line in said)])
    by = VARIANT if shown or any(target(run.options) for run in runs) else "method"
    drawn = list(pictures(shown or runs, by, ranked))
    files = {"table.md": text + "\n", "table.tex": latex(tables)}
    for number, table in enumerate(tables, 1):
        files[f"table{f'-{number}' if number > 1 else ''}.csv"] = csv(table)
    sweeps = dict.fromkeys(str(run.options.get("sweep")) for run in runs)
    several = "s" if len(sweeps) > 1 else ""
    count = f"Sweep{several} {', '.join(sweeps)} · {len(runs)} run{'s' if len(runs) > 1 else ''}"
    files["index.html"] = page(name, count, tables, drawn, said, facts(runs), commands(runs))
    data = {file: content.encode() for file, content in files.items()}
    for picture in drawn:
        data |= {f"{picture.name}.png": picture.png, f"{picture.name}.svg": picture.svg}
    folder.mkdir(exist_ok=True)
    ours = [
        *folder.glob("table*.csv"),
        *(folder / f"{p}.{e}" for p in PICTURES for e in ("png", "svg")),
    ]
    for old in ours:
        if old.name not in data:
            old.unlink(missing_ok=True)
    for file, content in data.items():
        write_atomically(folder / file, content)
    return text, list(data)
