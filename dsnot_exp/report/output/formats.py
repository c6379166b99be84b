"""A table as Markdown, LaTeX and CSV. Markdown and CSV use the methods' option names."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

import pandas as pd

from dsnot_exp.report.names import pretty
from dsnot_exp.report.tables.gains import percent
from dsnot_exp.report.tables.table import Cell, Table

HUGE = 1e5
LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "−": "$-$", "±": r"$\pm$", "·": r"$\cdot$", "…": r"\ldots{}", "<": "$<$", ">": "$>$",
    "|": "$|$",
}  # fmt: skip
DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs,graphicx}
\usepackage[margin=15mm,landscape]{geometry}
\begin{document}
%s
\end{document}
"""
FLOAT = r"""\begin{table}[p]
\centering\small
\caption{%s}
%s
\end{table}"""
WIDTH = r"\ifdim\width>\linewidth \linewidth\else\width\fi"
PAGE = 32  # rows per page


def number(value: float, digits: int | None) -> str:
    """`digits` decimals, so that decimal points align; huge values in scientific notation."""
    if digits is None:
        return f"{value:.4g}"
    if abs(value) >= HUGE:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.{digits}f}"


def difference(cell: Cell, digits: int | None) -> str:
    """The signed difference, as coarse as the two values; no sign if it rounds to zero."""
    gap = cell.difference
    if gap is None or cell.value is None or cell.published is None:
        return ""
    huge = max(abs(cell.value), abs(cell.published.value)) >= HUGE
    shown = f"{gap:.0e}".replace("e+0", "e") if huge else number(gap, digits)
    return shown.lstrip("-") if float(shown) == 0 else shown if gap < 0 else f"+{shown}"


def spread(cell: Cell, digits: int | None) -> str:
    if cell.spread is None:
        return ""
    error = number(cell.spread, digits)
    if digits is None and cell.value:  # as many decimals as four figures of the value have
        error = f"{round(cell.spread, 3 - math.floor(math.log10(abs(cell.value)))):g}"
    return f"± {error}" + (f" (n={cell.n})" if cell.n > 1 else "")


def beside(cell: Cell, digits: int | None) -> str:
    """`10.79, -0.01`: the published value, the mark of its source if any, and the difference."""
    if cell.published is None:
        return ""
    mark = f" [{cell.mark}]" if cell.mark else ""
    return ", ".join(filter(None, [cell.published.text + mark, difference(cell, digits)]))


def legend(table: Table) -> list[str]:
    """The lines below the table: an explanation of the cells, the sources, the notes."""
    lines = []
    if table.sources:
        lines.append("In parentheses: the published value, and ours minus published.")
    if any(cell.change is not None for row in table.cells for cell in row):
        lines.append("In percent: the change against the same mask without refinement.")
    if any(cell.n > 1 for row in table.cells for cell in row):
        lines.append("± with n: mean and sample standard deviation over n seeds.")
    for mark, source in table.sources:
        note = f" {source.note}" if source.note else ""
        lines.append(f"Published{f' [{mark}]' if mark else ''}: {source.source}.{note}")
    return lines + table.notes


def markdown(table: Table) -> str:
    head = [*table.heads, *table.columns]
    lines = [head, ["---"] * len(table.heads) + ["---:"] * len(table.columns)]
    for labels, cells in zip(table.labels, table.cells, strict=True):
        lines.append([*labels, *[_plain(cell, table.digits) for cell in cells]])
    text = "\n".join(f"| {' | '.join(map(_one_line, line))} |" for line in lines)
    if not table.joined and not legend(table):
        return text
    title = f"**{table.title}** ({table.caption})"
    return "\n\n".join([title, text, *legend(table)])


def _plain(cell: Cell, digits: int | None) -> str:
    if cell.value is None:
        shown = cell.words
    else:
        shown = number(cell.value, digits)
        shown = f"**{shown}**" if cell.best else shown
    more = ", ".join(filter(None, [beside(cell, digits), percent(cell)]))
    return " ".join(filter(None, [shown, spread(cell, digits), f"({more})" if more else ""]))


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def csv(table: Table) -> str:
    """Values at full precision, with a column for each kind of number in the table."""
    columns: dict[str, list[Any]] = {}
    for place, head in enumerate(table.heads):
        columns[head] = [labels[place] for labels in table.labels]
    for place, name in enumerate(table.columns):
        cells = [row[place] for row in table.cells]
        columns[name] = [c.words if c.value is None else repr(c.value) for c in cells]
        more: dict[str, list[Any]] = {
            "published": [c.published.text if c.published else None for c in cells],
            "difference": [c.difference for c in cells],
            "change": [c.change for c in cells],
            "std": [c.spread if c.n > 1 else None for c in cells],
            "n": [c.n if c.n > 1 else None for c in cells],
            "stderr": [c.spread if c.n == 1 else None for c in cells],
        }
        for kind, values in more.items():
            if any(value is not None for value in values):
                columns[f"{name} {kind}"] = ["" if v is None else str(v) for v in values]
    text = pd.DataFrame(columns).to_csv(index=False, lineterminator="\n")
    return text + "".join(f"# {_one_line(line)}\n" for line in [table.caption, *legend(table)])


def latex(tables: list[Table]) -> str:
    """A document that compiles; copy a table environment from it into a paper."""
    return DOCUMENT % "\n\\clearpage\n".join(_environment(table) for table in tables)


def _environment(table: Table) -> str:
    """Published values and differences are in small print, on a line below ours."""
    rows: list[list[str]] = []
    for labels, cells in zip(table.labels, table.cells, strict=True):
        shown = [escaped(pretty(label) if table.joined else label) for label in labels]
        rows.append([*shown, *[_strong(cell, table.digits) for cell in cells]])
        if any(cell.published for cell in cells):
            small = [escaped(beside(c, table.digits).replace(", -", ", −")) for c in cells]
            published = [f"{{\\scriptsize ({s})}}" if s else "" for s in small]
            rows.append([r"\quad{\scriptsize published}"] + [""] * (len(labels) - 1) + published)
    head = [escaped(name) for name in [*table.heads, *table.columns]]
    form = "l" * len(table.heads) + "r" * len(table.columns)
    beneath = "".join(f"\n\n\\smallskip{{\\footnotesize {escaped(x)}}}" for x in legend(table))
    caption = escaped(f"{table.title}: {table.caption}.")
    pages = []
    for start in range(0, max(1, len(rows)), PAGE):
        frame = pd.DataFrame(rows[start : start + PAGE], columns=head)
        tabular = frame.to_latex(index=False, escape=False, column_format=form).strip()
        fits = f"\\resizebox{{{WIDTH}}}{{!}}{{%\n{tabular}}}"
        last = start + PAGE >= len(rows)
        pages.append(FLOAT % (caption if start == 0 else "(continued)", fits + beneath * last))
    return "\n\\clearpage\n".join(pages)


def _strong(cell: Cell, digits: int | None) -> str:
    if cell.value is None:
        return f"{{\\scriptsize {escaped(cell.words)}}}" if cell.words else ""
    shown = escaped(number(cell.value, digits))
    more = escaped(" ".join(filter(None, [spread(cell, digits), percent(cell)])))
    shown = f"\\textbf{{{shown}}}" if cell.best else shown
    return shown + (f" {{\\scriptsize {more}}}" if more else "")


def escaped(text: str) -> str:
    """Escape text for pdflatex: drop accents, and replace unsupported characters with `?`."""
    found = []
    for char in " ".join(text.split()):
        plain = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode() or "?"
        found.append(LATEX.get(char) or "".join(LATEX.get(c, c) for c in plain))
    return "".join(found)
