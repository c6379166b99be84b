"""Numbers as text: as many decimals as a table asks for."""

from __future__ import annotations

import math

from dsnot_exp.report.tables.table import Cell, Table

HUGE = 1e5


def number(value: float, digits: int | None) -> str:
    """`digits` decimals, so that decimal points align; huge values in scientific notation."""
    if digits is None:
        return f"{value:.4g}"
    if abs(value) >= HUGE:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.{digits}f}"


def signed(value: float, digits: int | None) -> str:
    """With its sign; none if it rounds to zero."""
    shown = number(value, digits)
    return shown.lstrip("-") if float(shown) == 0 else shown if value < 0 else f"+{shown}"


def difference(cell: Cell, digits: int | None) -> str:
    """The signed difference from the published value, as coarse as the two values."""
    gap = cell.difference
    if gap is None or cell.value is None or cell.published is None:
        return ""
    if max(abs(cell.value), abs(cell.published.value)) < HUGE:
        return signed(gap, digits)
    shown = f"{gap:.0e}".replace("e+0", "e")
    return shown.lstrip("-") if float(shown) == 0 else shown if gap < 0 else f"+{shown}"


def delta(cell: Cell, digits: int | None) -> str:
    """`Δ +0.147`: ours minus dense, if the table shows it."""
    return "" if cell.delta is None else f"Δ {signed(cell.delta, digits)}"


def spread(cell: Cell, table: Table, digits: int | None) -> str:
    """`± 0.12 (n=3)`; without n where all means of the table are over as many seeds."""
    if cell.spread is None:
        return ""
    error = number(cell.spread, digits)
    if digits is None and cell.value:  # as many decimals as four figures of the value have
        error = f"{round(cell.spread, 3 - math.floor(math.log10(abs(cell.value)))):g}"
    return f"± {error}" + (f" (n={cell.n})" if cell.n > 1 and table.seeds is None else "")


def beside(cell: Cell, digits: int | None) -> str:
    """`10.79, -0.01`: the published value, the mark of its source if any, and the difference."""
    if cell.published is None:
        return ""
    mark = f" [{cell.mark}]" if cell.mark else ""
    return ", ".join(filter(None, [cell.published.text + mark, difference(cell, digits)]))
