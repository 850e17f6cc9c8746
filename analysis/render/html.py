"""A table as a fragment of a page. Any text is text; links and styles are the page's."""

from __future__ import annotations

from html import escape

from ..exhibits.base import Number, Slot, Table
from .words import notes, words


def table(table: Table) -> str:
    """A `<table class="exhibit">` with its caption, and a paragraph of notes.

    A number with samples behind it is a link with `data-cell`; a row has its kind as class.
    """
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = []
    for row in table.rows:
        first, *others = row.slots
        cells = f'<th scope="row">{_slot(first)}</th>' + "".join(_cell(slot) for slot in others)
        rows.append(f'<tr class="{row.kind}">{cells}</tr>' if row.kind else f"<tr>{cells}</tr>")
    said = "".join(f"<li>{escape(note)}</li>" for note in notes(table))
    return (
        f'<table class="exhibit"><caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>" + (f'<ul class="notes">{said}</ul>' if said else "")
    )


def _cell(slot: Slot) -> str:
    if not isinstance(slot, Number):
        return f"<td>{_slot(slot)}</td>"
    over = f' title="{escape(slot.n)}"' if slot.n else ""
    return f'<td class="number"{over}>{_slot(slot)}</td>'


def _slot(slot: Slot) -> str:
    said = words(slot)
    if not isinstance(slot, Number):
        return escape(said.value)
    if slot.value is None:
        shown = f'<span class="missing" title="{escape(slot.why or "")}">{escape(said.value)}</span>'
    else:
        shown = f"<b>{escape(said.value)}</b>"
        if slot.cell:
            shown = f'<a href="#samples" data-cell="{escape(slot.cell)}">{shown}</a>'
    extra = (("ci", said.interval), ("p", said.p), ("published", said.published))
    return shown + "".join(f' <span class="{name}">{escape(text)}</span>' for name, text in extra if text)
