"""An exhibit as plain data: a table, figures, or both. Knows nothing of how they are shown, or of sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["%", "points", "tokens", "share", "count", ""]


@dataclass(frozen=True)
class Number:
    """One number with what it takes to defend it. Percent and points are in [0, 100], shares in [0, 1].

    `low`, `high`: its 95 % interval. `n`: what was counted or resampled, as text (`80 questions`). `p`: corrected over
    the sweep's claims; `exploratory` where no claim declares it. `published`: the source's own number, as printed.
    `cell`: key of the cell whose samples are behind it.
    """

    value: float | None
    unit: Unit = "%"
    low: float | None = None
    high: float | None = None
    n: str | None = None
    p: float | None = None
    exploratory: bool = False
    published: str | None = None
    cell: str | None = None
    why: str | None = None  # there is no value


Slot = Number | str | None


@dataclass(frozen=True)
class TableRow:
    """Slots in the columns' order; a str slot is a label. `kind`: `reference` and `null` arms are set off."""

    slots: tuple[Slot, ...]
    kind: Literal["", "reference", "null", "published"] = ""


@dataclass(frozen=True)
class Table:
    """`title` ends without a stop; `notes` say what was resampled, over what, and which cells are elsewhere."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Point:
    """`low`, `high`: 95 % interval of y. `label` is what a reader sees on pointing at it.

    The line passes through a point that is not `marked` and draws no mark there: it belongs to another line.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    label: str = ""
    cell: str | None = None
    marked: bool = True


@dataclass(frozen=True)
class FigureLine:
    """Points in order. Lines of one `colour` or one `marker` share that name's look in every panel of the figure.

    `joined`: points are connected; `dashed`: drawn apart from what it is compared with (scale-up, a null, a reference).
    `axes`: values by which a reader can filter, such as {"data": "s1k", "task": "tiny_hard"}.
    """

    label: str
    points: tuple[Point, ...]
    colour: str = ""
    marker: str = ""
    joined: bool = True
    dashed: bool = False
    hollow: bool = False
    axes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Panel:
    """`ticks`: names for x = 0, 1, 2... where x is a category. `level`: a horizontal line, with its name."""

    title: str
    lines: tuple[FigureLine, ...]
    x: str = "mean thinking tokens"
    y: str = "accuracy, %"
    log_x: bool = True
    ticks: tuple[str, ...] = ()
    level: tuple[float, str] | None = None


@dataclass(frozen=True)
class Figure:
    title: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exhibit:
    """`source` names the table or figure of a paper that it follows; `reading` says how to read it, in a sentence."""

    name: str
    title: str
    source: str
    reading: str = ""
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
