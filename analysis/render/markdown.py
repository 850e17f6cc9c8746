"""A table as GitHub's Markdown."""

from __future__ import annotations

from ..exhibits.base import Slot, Table
from .words import notes, words

MARKED = str.maketrans({char: f"\\{char}" for char in "\\|*_`<[]"})


def table(table: Table) -> str:
    """Title in bold, the table, its notes as a list. Text of cells is escaped."""
    lines = [f"**{escape(table.title)}**", ""]
    lines.append(_line(escape(column) for column in table.columns))
    # What holds numbers is flush right.
    lines.append(_line("---:" if _numeric(table, i) else ":---" for i in range(len(table.columns))))
    lines += [_line(_slot(slot) for slot in row.slots) for row in table.rows]
    said = [f"- {escape(note)}" for note in notes(table)]
    return "\n".join([*lines, "", *said, ""] if said else [*lines, ""])


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return " ".join(text.split()).translate(MARKED)


def _slot(slot: Slot) -> str:
    return escape(str(words(slot)))


def _line(parts: object) -> str:
    return "| " + " | ".join(parts) + " |"  # type: ignore[arg-type]


def _numeric(table: Table, column: int) -> bool:
    return any(not isinstance(row.slots[column], str | None) for row in table.rows)
