"""The report as one self-contained HTML file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dsnot_exp.report.names import pretty
from dsnot_exp.report.output import formats
from dsnot_exp.report.plot_style import INK
from dsnot_exp.report.plots import Picture
from dsnot_exp.report.runs import VARIANT
from dsnot_exp.report.tables.gains import percent
from dsnot_exp.report.tables.table import Cell, Table


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
        "legend": formats.legend,
        "shown": lambda cell, digits: _minus(formats.number(cell.value, digits)),
        "spread": formats.spread,
        "difference": lambda cell, digits: _minus(formats.difference(cell, digits)),
        "percent": lambda cell: _minus(percent(cell)),
        "order": _order,
        "marked": lambda table, how: any(getattr(c, how) for row in table.cells for c in row),
        "label_order": _label_order,
        "decimals": _decimals,
        "methods": ("method", VARIANT),
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
    text = picture.svg.decode().replace(INK, "currentColor")
    text = text[text.index("<svg") :]
    prefix = picture.name  # ids are unique per SVG, but the page contains several SVGs
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    width = re.search(r'<svg[^>]* width="([\d.]+)pt"', text)
    size = f"width:{float(width[1]) * 4 / 3:.0f}px" if width else ""
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    return Markup(text.replace("<svg ", f'<svg role="img" style="{size}" ', 1))


def _decimals(table: Table) -> list[int | None]:
    """Decimals per column, so that decimal points align; None if the values differ too much."""
    if table.digits is not None:
        return [table.digits] * len(table.columns)
    found: list[int | None] = []
    for column in zip(*table.cells, strict=True):
        texts = [formats.number(cell.value, None) for cell in column if cell.value is not None]
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
