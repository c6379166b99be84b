"""The lines below a table: what its cells show, the sources, the notes."""

from __future__ import annotations

from dsnot_exp.report.tables.marks import arrow
from dsnot_exp.report.tables.table import Cell, Table


def marks(table: Table, second: str) -> list[str]:
    """What the marks mean that the table has. second: how the second best is shown"""
    cells = [cell for row in table.cells for cell in row]
    found = []
    if any(cell.best for cell in cells):
        more = f"; {second}: the second best" if any(cell.second for cell in cells) else ""
        found.append(f"Bold: the best of its column{more}.")
    than = table.baseline or "the initializer alone"
    words = {arrow(c, table): "better" if c.better else "worse" for c in cells if arrow(c, table)}
    if words:
        order = sorted(words.items(), key=lambda item: item[1])
        found.append(f"{', '.join(f'{sign} {word}' for sign, word in order)} than {than}.")
    return found


def legend(table: Table) -> list[str]:
    """The lines that every format shares."""
    cells = [cell for row in table.cells for cell in row]
    lines = _deviations(table, cells)
    if any(cell.delta is not None for cell in cells):
        lines.append("Δ: the difference from the dense model.")
    if any(cell.change is not None for cell in cells):
        lines.append("In percent: the change against the same mask without refinement.")
    for mark, source in table.sources:
        note = f" {source.note}" if source.note else ""
        lines.append(f"Published{f' [{mark}]' if mark else ''}: {source.source}.{note}")
    return lines + table.notes


def _deviations(table: Table, cells: list[Cell]) -> list[str]:
    if table.seeds is not None:
        return [f"±: mean and sample standard deviation over {table.seeds} seeds."]
    if any(cell.n > 1 for cell in cells):
        return ["± with n: mean and sample standard deviation over n seeds."]
    return []


PUBLISHED = "In parentheses: the published value, and ours minus published."
