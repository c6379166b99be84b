"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dsnot_exp.report.output import formats
from dsnot_exp.report.plot_style import INK
from dsnot_exp.report.plots import Picture
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
    environment.filters |= {"pretty": formats.pretty, "svg": _inline}
    environment.globals |= {
        "legend": formats.legend,
        "shown": lambda cell, digits: _minus(formats.number(cell.value, digits)),
        "spread": formats.spread,
        "difference": lambda cell, digits: _minus(formats.difference(cell, digits)),
        "order": _order,
        "marked": lambda table, how: any(getattr(c, how) for row in table.cells for c in row),
        "label_order": _label_order,
        "decimals": _decimals,
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
    """The drawing itself, in the page's colour of text; matplotlib has escaped its words."""
    text = picture.svg.decode().replace(INK, "currentColor")
    text = text[text.index("<svg") :]
    prefix = picture.name  # ids are unique in a file, and the page holds several
    text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    width = re.search(r'<svg[^>]* width="([\d.]+)pt"', text)
    size = f"width:{float(width[1]) * 4 / 3:.0f}px" if width else ""
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    return Markup(text.replace("<svg ", f'<svg role="img" style="{size}" ', 1))


def _decimals(table: Table) -> list[int | None]:
    """Of every column, so that its points stand below each other; None: too far apart for that."""
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
    """What a column is sorted by: the figure in full; nothing for words, which come last."""
    return "" if cell.value is None else repr(cell.value)


def _label_order(text: str) -> str:
    """A label that begins with a number is sorted as one."""
    found = re.match(r"-?\d+(\.\d+)?(e-?\d+)?(?= %$|$)", text)
    return found[0] if found else ""
