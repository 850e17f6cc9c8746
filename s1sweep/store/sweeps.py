"""A sweep: a name, notes, tags and claims, and an append-only list of cells.

    sweeps/<name>/sweep.json    notes, tags, claims, creation
    sweeps/<name>/cells.jsonl   its cells, one a line

Knows files; not how cells are made or what becomes of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from s1sweep.store.records import as_file

if TYPE_CHECKING:
    from s1sweep.store.store import Store


class SweepInfo(BaseModel):
    """What a sweep says of itself. `created` is in seconds since the epoch; None of a sweep that was never opened."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    created: float | None = None
    notes: str = ""
    tags: tuple[str, ...] = ()
    claims: tuple[dict[str, Any], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As it is written."""
        return self.model_dump(mode="json")


class SavedCell(BaseModel):
    """A cell as a sweep's list has it: how the user named it, its spec as JSON, and the stages that it needs by role.

    `series` is equal for cells that differ only in how much compute they may use.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    axes: dict[str, Any] = Field(default_factory=dict)
    spec: dict[str, Any] = Field(default_factory=dict)
    stages: dict[str, str]
    series: str = ""
    notes: tuple[str, ...] = ()


class Sweep:
    """A sweep of a store, by its name. Creating the object touches nothing."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = name
        self.dir = store.sweep_dir(name)

    def open(self, notes: str, tags: Iterable[str], claims: Iterable[Mapping[str, Any]] = ()) -> None:
        """Create the sweep, or update its notes and tags where given, and make it the newest.

        Claims are added and never taken away: a family that shrinks after a look is no correction.
        """
        old = self.info()
        declared = list(old.claims)
        declared += [dict(claim) for claim in claims if claim not in declared]
        new = SweepInfo(
            created=round(time.time(), 3) if old.created is None else old.created,
            notes=notes or old.notes,
            tags=tuple(sorted({*old.tags, *tags})),
            claims=tuple(declared),
        )
        self.store.files.replace(f"sweeps/{self.name}/sweep.json", as_file({"name": self.name, **new.as_json()}))
        self.dir.mkdir(parents=True, exist_ok=True)

    def info(self) -> SweepInfo:
        """What the sweep says of itself. Raises ValueError if its file is torn."""
        data = self.store.files.read(f"sweeps/{self.name}/sweep.json")
        return SweepInfo() if data is None else SweepInfo.model_validate_json(data)

    def cells(self) -> list[SavedCell]:
        """All cells in the order they were added, each once. A line torn by a crash is not a cell."""
        cells: dict[str, SavedCell] = {}
        for line in self.lines().splitlines():
            with suppress(ValueError):
                cell = SavedCell.model_validate_json(line)
                cells.setdefault(cell.key, cell)
        return list(cells.values())

    def lines(self) -> str:
        """The list of cells as it is written, one a line."""
        return self.store.files.lines(f"sweeps/{self.name}/cells.jsonl").decode("utf-8", errors="replace")

    def add(self, cells: Iterable[Mapping[str, Any]]) -> int:
        """Append the cells, as JSON, that are not in the sweep yet; returns how many were new."""
        known = {cell.key for cell in self.cells()}
        lines = []
        for cell in cells:
            if cell["key"] not in known:
                known.add(cell["key"])
                lines.append(json.dumps(cell, ensure_ascii=False) + "\n")
        if lines:
            self.store.files.append(f"sweeps/{self.name}/cells.jsonl", "".join(lines).encode())
        return len(lines)
