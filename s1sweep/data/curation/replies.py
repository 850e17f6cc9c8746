"""What models said of rows, read from the stages in which they were asked. Knows no step."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from s1sweep.decoding.readout import READOUTS
from s1sweep.grading.grade import GRADES


@dataclass(frozen=True)
class Said:
    """Folders of finished decode or grade stages, by who was asked; and where answers of a server are kept."""

    by: Mapping[str, Path] = field(default_factory=dict)
    cache: Path | None = None


def readouts(folder: Path) -> Iterator[dict[str, Any]]:
    """One for each row that was asked about, in the rows' order."""
    with (folder / READOUTS).open("rb") as f:
        yield from map(json.loads, f)


def labels(folder: Path) -> dict[str, bool]:
    """Whether the answer was right, by row."""
    with (folder / GRADES).open("rb") as f:
        return {grade["question_id"]: grade["credit"] == 1 for grade in map(json.loads, f)}
