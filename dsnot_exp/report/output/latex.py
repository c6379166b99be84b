"""A table as a LaTeX `tabular` with the rules of booktabs, for `\\input` in a paper."""

from __future__ import annotations

import unicodedata
from itertools import groupby

from dsnot_exp.report.output.legend import PUBLISHED, legend, marks
from dsnot_exp.report.output.numbers import beside, delta, number, spread
from dsnot_exp.report.tables.gains import percent
from dsnot_exp.report.tables.marks import METHODS, arrow
from dsnot_exp.report.tables.table import Cell, Table
from dsnot_exp.results.method_names import pretty

SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "−": "$-$", "±": r"$\pm$", "·": r"$\cdot$", "…": r"\ldots{}", "<": "$<$", ">": "$>$",
    "|": "$|$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "Δ": r"$\Delta$",
    "[": "{[}",  # after the end of a row it would begin an argument
}  # fmt: skip
NEEDS = r"Needs \usepackage{booktabs}. Put it into a table: \begin{table} \input{%s} \end{table}"


def latex(table: Table, file: str) -> str:
    """The tabular alone. What belongs into the paper's caption is in comments.

    file: the name under which the paper includes it
    """
    lines = [NEEDS % file, f"{table.title}: {table.caption}."]
    published = [PUBLISHED] if table.sources else []
    beneath = [*marks(table, "underlined"), *published, *legend(table)]
    body = []
    for place, (labels, cells) in enumerate(zip(table.labels, table.cells, strict=True)):
        if place and _apart(table, labels):
            body.append(r"\addlinespace")
        body += _row(table, labels, cells)
    form = "l" * len(table.heads) + "r" * len(table.columns)
    head = " & ".join(escaped(name) for name in [*table.heads, *table.columns]) + r" \\"
    parts = [
        *(f"% {_comment(line)}" for line in lines),
        rf"\begin{{tabular}}{{{form}}}", r"\toprule", *_above(table), head, r"\midrule",
        *body, r"\bottomrule", r"\end{tabular}",
        *(f"% {_comment(line)}" for line in beneath),
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _apart(table: Table, labels: tuple[str, ...]) -> bool:
    """A row that begins a new initializer."""
    return table.heads[-1] in METHODS and not {"+", ","} & set(labels[-1])


def _above(table: Table) -> list[str]:
    """The headings above the columns, with a rule under each."""
    if not table.above:
        return []
    cells, rules, start = [""] * len(table.heads), [], len(table.heads) + 1
    for name, columns in groupby(table.above):
        width = len(list(columns))
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escaped(name)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    return [" & ".join(cells) + r" \\", " ".join(rules)]


def _row(table: Table, labels: tuple[str, ...], cells: list[Cell]) -> list[str]:
    """Published values and differences are in small print, on a line below ours."""
    shown = [escaped(pretty(label) if table.joined else label) for label in labels]
    lines = [" & ".join([*shown, *(_cell(cell, table) for cell in cells)]) + r" \\"]
    if any(cell.published for cell in cells):
        small = [escaped(beside(c, table.digits).replace(", -", ", −")) for c in cells]
        published = [f"{{\\scriptsize ({s})}}" if s else "" for s in small]
        first = [r"\quad{\scriptsize published}"] + [""] * (len(labels) - 1)
        lines.append(" & ".join([*first, *published]) + r" \\")
    return lines


def _cell(cell: Cell, table: Table) -> str:
    if cell.value is None:
        return f"{{\\scriptsize {escaped(cell.words)}}}" if cell.words else ""
    shown = escaped(number(cell.value, table.digits))
    form = r"\textbf{%s}" if cell.best else r"\underline{%s}" if cell.second else "%s"
    parts = [spread(cell, table, table.digits), percent(cell), delta(cell, table.digits)]
    more = escaped(" ".join(filter(None, parts)).replace("-", "−"))
    mark = escaped(arrow(cell, table))
    return form % shown + mark + (f" {{\\scriptsize {more}}}" if more else "")


def _comment(text: str) -> str:
    return " ".join(text.split())


def escaped(text: str) -> str:
    """Escape text for pdflatex: drop accents, and replace unsupported characters with `?`."""
    found = []
    for char in " ".join(text.split()):
        plain = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode() or "?"
        found.append(SPECIAL.get(char) or "".join(SPECIAL.get(c, c) for c in plain))
    return "".join(found)
