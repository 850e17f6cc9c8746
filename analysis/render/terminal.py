"""A table, and a whole exhibit, on a terminal (rich). Numbers are whole at any width."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from ..exhibits.base import Exhibit, Number, Table
from .words import notes, words

STYLES = {"reference": "bold", "null": "dim", "published": "italic", "": ""}


def show(exhibit: Exhibit, console: Console | None = None) -> None:
    """Print the exhibit's title, source, tables and notes; its figures are files."""
    console = console or Console(highlight=False)
    source = f" ({exhibit.source})" if exhibit.source else ""
    console.print(exhibit.title + source, style="bold", markup=False)
    if exhibit.reading:
        console.print(exhibit.reading, markup=False)
    for one in exhibit.tables:
        console.print()
        table(one, console)
    for note in exhibit.notes:
        console.print(note, style="dim", markup=False)


def table(table: Table, console: Console) -> None:
    """Print one table; where it is too wide, intervals go below their numbers."""
    made = _made(table, " ")
    if _width(made, console) > console.width:
        made = _made(table, "\n")
    if _width(made, console) > console.width and not console.is_terminal:
        console.width = _width(made, console)  # a pipe has no edge
    console.print(made)
    for note in notes(table):
        console.print(note, style="dim", markup=False)


def _made(table: Table, between: str) -> RichTable:
    made = RichTable(
        title=Text(table.title), box=None, pad_edge=False, header_style="bold", title_justify="left", title_style=""
    )
    for i, column in enumerate(table.columns):
        right = any(isinstance(row.slots[i], Number) for row in table.rows)
        made.add_column(Text(column), justify="right" if right else "left", overflow="fold")
    for row in table.rows:
        # Text, not strings: what is in brackets is no markup.
        made.add_row(*(Text(between.join(words(slot).parts)) for slot in row.slots), style=STYLES[row.kind])
    return made


def _width(table: RichTable, console: Console) -> int:
    return Measurement.get(console, console.options.update(width=10_000), table).maximum
