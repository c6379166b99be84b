"""The report as one self-contained HTML file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dsnot_exp.report.output import numbers
from dsnot_exp.report.output.legend import legend, marks
from dsnot_exp.report.plot_style import INK
from dsnot_exp.report.plots import Picture
from dsnot_exp.report.tables.gains import percent
from dsnot_exp.report.tables.marks import METHODS, arrow
from dsnot_exp.report.tables.table import Cell, Table
from dsnot_exp.results.method_names import pretty

LEGIBLE = 0.8  # of a plot's natural size


def page(
    title: str,
    count: str,
    tables: Sequence[Table],
    pictures: Sequence[Picture],
    warnings: Sequence[str],
    facts: Sequence[tuple[str, str]],
    commands: Sequence[str],
) -> str:
    loader = PackageLoader("dsnot_exp.report.output", "")
    environment = Environment(autoescape=True, undefined=StrictUndefined, loader=loader,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    environment.filters |= {"pretty": pretty, "svg": _inline}
    environment.globals |= {
        "legend": _legend,
        "shown": lambda cell, digits: _minus(numbers.number(cell.value, digits)),
        "spread": numbers.spread,
        "delta": lambda cell, digits: _minus(numbers.delta(cell, digits)),
        "difference": lambda cell, digits: _minus(numbers.difference(cell, digits)),
        "arrow": arrow,
        "above": lambda table: [(name, len(list(c))) for name, c in groupby(table.above)],
        "percent": lambda cell: _minus(percent(cell)),
        "order": _order,
        "file": file_name,
        "label_order": _label_order,
        "decimals": _decimals,
        "methods": METHODS,
    }
    template = environment.get_template("page.html.jinja")
    return template.render(
        title=title,
        count=count,
        tables=tables,
        pictures=pictures,
        warnings=warnings,
        facts=facts,
        commands=commands,
    )


def _inline(picture: Picture) -> Markup:
    """The SVG inline, in the page's text colour. matplotlib has already escaped its text."""
    text = picture.files["svg"].decode().replace(INK, "currentColor")
    text = text[text.index("<svg") :]
    prefix = picture.name  # ids are unique per SVG, but the page contains several SVGs
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    width = re.search(r'<svg[^>]* width="([\d.]+)pt"', text)
    pixels = float(width[1]) * 4 / 3 if width else 0.0
    # A narrow screen shows it smaller, but as large as its text needs to be.
    size = f"width:{pixels:.0f}px;min-width:{LEGIBLE * pixels:.0f}px" if width else ""
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    return Markup(text.replace("<svg ", f'<svg role="img" style="{size}" ', 1))


def file_name(number: int) -> str:
    """Of the files of a table, without the ending: `table`, `table-2`."""
    return f"table-{number}" if number > 1 else "table"


def _legend(table: Table) -> list[str]:
    published = ["Small: the published value, and ours minus published."] if table.sources else []
    return [*marks(table, "underlined"), *published, *legend(table)]


def _decimals(table: Table) -> list[int | None]:
    """Decimals per column, so that decimal points align; None if the values differ too much."""
    if table.digits is not None:
        return [table.digits] * len(table.columns)
    found: list[int | None] = []
    for column in zip(*table.cells, strict=True):
        texts = [numbers.number(cell.value, None) for cell in column if cell.value is not None]
        places = max((len(text.partition(".")[2]) for text in texts), default=0)
        found.append(None if any("e" in text for text in texts) or places > 6 else places)
    return found


def _minus(text: str) -> str:
    return text.replace("-", "−") if not re.search(r"e-", text) else text


def _order(cell: Cell) -> str:
    """A cell's sort key: the full value; empty for words, which come last."""
    return "" if cell.value is None else repr(cell.value)


def _label_order(text: str) -> str:
    """A label's sort key: the number, if the label is one; otherwise empty."""
    found = re.match(r"-?\d+(\.\d+)?(e-?\d+)?(?= %$|$)", text)
    return found[0] if found else ""
