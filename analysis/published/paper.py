"""What the s1 paper (arXiv:2501.19393) published: its tables, and the points of its figures, with their status.

Data only, one JSON file for each; reads those and knows no result of ours. Percent and tokens as printed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

PAPER = "s1: Simple test-time scaling, arXiv:2501.19393v3"
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class PublishedNumber:
    """A printed number, None where the table has a dash. `low` and `high` are the interval printed beside it."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PublishedCurve:
    """Runs in the order of their limits, which are what was asked for (tokens, steps, votes); empty where unknown.

    `accuracy` is in percent, rounded as printed, over so many `questions`.
    """

    questions: int
    accuracy: tuple[float, ...]
    thinking_tokens: tuple[float, ...] = ()
    limits: tuple[float, ...] = ()
    answer_tokens: tuple[float, ...] = ()

    @property
    def points(self) -> list[tuple[float, float]]:
        """(mean thinking tokens, accuracy in percent), as `analysis.metrics` takes them; empty without tokens.

        Accuracies are of whole questions, not rounded as printed: Scaling divides by small numbers, and needs it.
        """
        whole = [100 * round(a * self.questions / 100) / self.questions for a in self.accuracy]
        return list(zip(self.thinking_tokens, whole, strict=False))


@dataclass(frozen=True)
class Published:
    """A table has `rows` (label -> column -> number), a figure or a table of runs has `curves`.

    `status` is `printed`, `digitised from the vector figure`, `digitised from the raster figure`, or `computed` from
    what was printed.
    """

    name: str
    title: str
    source: str
    status: str
    notes: tuple[str, ...] = ()
    rows: dict[str, dict[str, PublishedNumber]] = field(default_factory=dict)
    curves: dict[str, PublishedCurve] = field(default_factory=dict)

    def value(self, row: str, column: str) -> float:
        """A number that is there. Raises KeyError if it is not, or is a dash."""
        found = self.rows[row][column].value
        if found is None:
            raise KeyError(f"{self.name} has no number for {row}, {column}")
        return found


def names() -> list[str]:
    """What there is: tables and figures by name."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


@cache
def published(name: str) -> Published:
    """A table or figure by name, such as `table3` or `figure1`. Raises ValueError on a name that is not there."""
    path = FOLDER / f"{name}.json"
    if name not in names():
        raise ValueError(f"nothing published is called {name!r}; there are {', '.join(names())}")
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = {row: {column: _number(n) for column, n in cells.items()} for row, cells in found.get("rows", {}).items()}
    curves = {label: _curve(**curve) for label, curve in found.get("curves", {}).items()}
    own = found["source"].startswith(("Table", "Figure"))
    source = f"{PAPER}, {found['source']}" if own else found["source"]
    return Published(name, found["title"], source, found["status"], tuple(found.get("notes", ())), rows, curves)


def _curve(questions: int, **parts: Sequence[float]) -> PublishedCurve:
    return PublishedCurve(questions, **{what: tuple(numbers) for what, numbers in parts.items()})


def _number(found: float | dict[str, float] | None) -> PublishedNumber:
    return PublishedNumber(**found) if isinstance(found, dict) else PublishedNumber(found)
