"""Tables as people read them: on a terminal, as Markdown, LaTeX, CSV, HTML. A file knows one form, and no cell."""

from __future__ import annotations

from s1sweep.errors import invalid

from ..exhibits.base import Exhibit
from . import csv_, html, latex, markdown, terminal

__all__ = ["FORMATS", "csv_", "exhibit_text", "html", "known", "latex", "markdown", "terminal"]

FORMATS = {"markdown": markdown.table, "latex": latex.table, "csv": csv_.table}


def known(form: str) -> None:
    """Raise UserError, with the nearest form, unless it is `terminal` or one of `FORMATS`."""
    if form not in ("terminal", *FORMATS):
        raise invalid("--format", form, ["terminal", *FORMATS])


def exhibit_text(exhibit: Exhibit, form: str) -> str:
    """All tables of an exhibit in a form of `FORMATS`, one after the other."""
    return "\n".join(FORMATS[form](table) for table in exhibit.tables)
