"""A table as LaTeX: `\\begin{table}` with booktabs' rules. Any text compiles."""

from __future__ import annotations

import re

from ..exhibits.base import Slot, Table, TableRow
from .words import notes, words

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "%": r"\%", "&": r"\&", "_": r"\_", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "×": r"$\times$", "−": r"$-$", "–": "--", "†": r"$\dagger$", "Δ": r"$\Delta$", "≤": r"$\leq$", "≥": r"$\geq$",
    "→": r"$\to$", "±": r"$\pm$", "·": r"$\cdot$", "…": r"\dots{}",
}  # fmt: skip
_SPECIAL = re.compile("|".join(map(re.escape, SPECIAL)))


def table(table: Table) -> str:
    """Needs \\usepackage{booktabs} and, for straight quotes, \\usepackage[T1]{fontenc}. Notes stand below, small."""
    numeric = [any(not isinstance(row.slots[i], str | None) for row in table.rows) for i in range(len(table.columns))]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(table.title)}}}",
        rf"\begin{{tabular}}{{{''.join('r' if number else 'l' for number in numeric)}}}",
        r"\toprule",
        " & ".join(escape(column) for column in table.columns) + r" \\",
        r"\midrule",
    ]
    before: TableRow | None = None
    for row in table.rows:
        if before is not None and (row.kind == "published") != (before.kind == "published"):
            lines.append(r"\midrule")
        lines.append(" & ".join(_slot(slot) for slot in row.slots) + r" \\")
        before = row
    lines += [r"\bottomrule", r"\end{tabular}"]
    said = " ".join(escape(note) for note in notes(table))
    lines += [rf"\par\smallskip{{\footnotesize {said}}}"] if said else []
    return "\n".join([*lines, r"\end{table}", ""])


def escape(text: str) -> str:
    """Text that TeX sets as it is."""
    # A bracket that opens a row would be read as the argument of the `\\` before it.
    return _SPECIAL.sub(lambda match: SPECIAL[match[0]], text).replace("[", "{[}").replace("]", "{]}")


def _slot(slot: Slot) -> str:
    said = words(slot)
    small = " ".join(escape(part) for part in said.parts[1:])
    return escape(said.value) + (rf" {{\footnotesize {small}}}" if small else "")
