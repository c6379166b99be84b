"""Lines, sections and tables, laid out for the width of the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

WIDE = 10**4  # of a file or a pipe
KEY, GAP = 12, 3  # characters: of the keys of lines, and between columns


def console() -> Console:
    """A file or a pipe has no width, and no line is cut there."""
    found = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not found.is_terminal and "COLUMNS" not in found._environ:
        found.width = WIDE
    return found


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> tuple[Table, int]:
    """A table, and the characters it needs so that nothing is cut. A title may have several lines.

    sides: l or r for each column
    """
    table, needed = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False), 0
    for i, title in enumerate(head):
        cells = [*title.split("\n"), *(row[i] for row in rows)]
        needed += max(map(len, cells)) + (GAP if i else 0)
        right = "right" if sides[i] == "r" else "left"
        table.add_column(title, justify=right, no_wrap=True)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*row)
    return table, needed


class Sheet:
    """Prints what it is given."""

    def __init__(self) -> None:
        self.console = console()

    def title(self, text: str) -> None:
        self.console.print(text, style="bold")

    def section(self, text: str) -> None:
        self.console.print()
        self.console.print(text, style="bold")

    def line(self, key: str, text: str) -> None:
        """A key and its text, which goes on below itself."""
        width = max(self.console.width - KEY, 30)
        lines = textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False) or [""]
        start = f"{key:{KEY}}" if len(key) < KEY else f"{key} "
        self.console.print(start + lines[0])
        for more in lines[1:]:
            self.console.print(" " * KEY + more)

    def note(self, text: str) -> None:
        self.console.print(text)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> None:
        """A table, without empty columns; where it is too wide, a few lines for each row: the first
        cell, then a line for each of the others that is not empty."""
        used = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
        head, rows = [head[i] for i in used], [[row[i] for i in used] for row in rows]
        table, needed = grid(head, rows, "".join(sides[i] for i in used))
        if needed <= self.console.width:
            self.console.print(table, soft_wrap=False)
            return
        titles = [title.replace("\n", " ") for title in head]
        widest = max(map(len, titles[1:]), default=0)
        for row in rows:
            self.console.print(row[0])
            for title, cell in list(zip(titles, row, strict=True))[1:]:
                if cell:
                    self.console.print(f"  {title:{widest}}  {cell}")
