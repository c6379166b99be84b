"""A table as Markdown."""

from __future__ import annotations

from dsnot_exp.report.output.legend import PUBLISHED, legend, marks
from dsnot_exp.report.output.numbers import beside, delta, number, spread
from dsnot_exp.report.tables.gains import percent
from dsnot_exp.report.tables.marks import PRINTED, arrow
from dsnot_exp.report.tables.table import Cell, Table
from dsnot_exp.results.method_names import pretty


def markdown(table: Table) -> str:
    head = [*table.heads, *table.full_names]
    lines = [head, ["---"] * len(table.heads) + ["---:"] * len(table.columns)]
    for labels, cells in zip(table.labels, table.cells, strict=True):
        named = [pretty(label) if head_ in PRINTED else label
                 for head_, label in zip(table.heads, labels, strict=True)]  # fmt: skip
        lines.append([*named, *[_cell(cell, table) for cell in cells]])
    text = "\n".join(f"| {' | '.join(map(one_line, line))} |" for line in lines)
    beneath = [*([PUBLISHED] if table.sources else []), *marks(table, "italic"), *legend(table)]
    if not table.joined and not beneath:
        return text
    title = f"**{table.title}** ({table.caption})"
    return "\n\n".join([title, text, *beneath])


def _cell(cell: Cell, table: Table) -> str:
    digits = table.digits
    shown = cell.words
    if cell.value is not None:
        shown = number(cell.value, digits)
        shown = f"**{shown}**" if cell.best else f"*{shown}*" if cell.second else shown
    more = ", ".join(filter(None, [beside(cell, digits), percent(cell), delta(cell, digits)]))
    parts = [shown, arrow(cell, table), spread(cell, table, digits), f"({more})" if more else ""]
    return " ".join(filter(None, parts))


def one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
