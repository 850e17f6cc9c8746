"""A number as words: what it is, its interval, what stands beside it. The signs are plain; each form makes its own."""

from __future__ import annotations

from dataclasses import dataclass

from ..exhibits.base import Number, Slot, Table

EMPTY = "–"
MANY = 4  # kinds of n in a note


@dataclass(frozen=True)
class Words:
    """`−3.3`, `[−26.7, 3.3]`, `p = 0.012`, `published 36.7`; each but the first may be empty."""

    value: str
    interval: str = ""
    p: str = ""
    published: str = ""

    @property
    def parts(self) -> list[str]:
        return [part for part in (self.value, self.interval, self.p, self.published) if part]

    def __str__(self) -> str:
        return " ".join(self.parts)


def words(slot: Slot) -> Words:
    """A slot of a table. A number without a value is its reason up to the colon; the whole of it is a note's."""
    if slot is None:
        return Words(EMPTY)
    if isinstance(slot, str):
        return Words(slot)
    published = f"(published {slot.published})" if slot.published else ""
    if slot.value is None:
        return Words((slot.why or EMPTY).split(":", 1)[0], published=published)
    interval = ""
    if slot.low is not None and slot.high is not None:
        interval = f"[{_figure(slot, slot.low)}, {_figure(slot, slot.high)}]"
    p = "" if slot.p is None else f"p {_p(slot.p)}"
    return Words(_figure(slot, slot.value) + ("†" if slot.exploratory else ""), interval, p, published)


def notes(table: Table) -> list[str]:
    """The table's notes, and what its marks mean."""
    numbers = [slot for row in table.rows for slot in row.slots if isinstance(slot, Number)]
    found = list(table.notes)
    counted = list(dict.fromkeys(number.n for number in numbers if number.n))
    if counted:
        found.append(f"n: {'; '.join(counted[:MANY])}{'; and others, in the CSV' if len(counted) > MANY else ''}.")
    if any(number.low is not None for number in numbers):
        found.append("In brackets: 95 % intervals.")
    if any(number.p is not None for number in numbers):
        found.append("p: corrected over all claims of the sweep (Holm).")
    if any(number.exploratory for number in numbers):
        found.append("†: no claim of the sweep declares this comparison; exploratory, its interval stands alone.")
    reasons = dict.fromkeys(number.why for number in numbers if number.value is None and number.why)
    return found + [f"No number: {reason}." for reason in reasons]


def _figure(number: Number, value: float) -> str:
    if number.unit == "points":
        # −0.0 is 0.
        text = f"{round(value, 1) + 0.0:+.1f}".replace("+0.0", "0.0")
    elif number.unit == "%":
        text = f"{value:.1f}"
    elif number.unit == "tokens":
        text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}"
    elif number.unit == "count":
        text = f"{value:,.0f}"
    else:
        text = f"{value:.2f}"
    return text.replace("-", "−")


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"
