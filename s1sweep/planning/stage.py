"""What a plan is made of: stages, and the cells that need them. Values only; says nothing of how they come about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s1sweep.identity import slug_of
from s1sweep.planning.axes import series_key
from s1sweep.spec import CellSpec, StageSpec

KINDS = ("pool", "curate", "select", "train", "decode", "grade")


@dataclass(frozen=True, slots=True)
class Stage:
    """One unit of work. `session` is the same for the decode stages that one engine session serves."""

    id: str
    kind: str
    spec: StageSpec
    inputs: Mapping[str, str]
    hashed: Mapping[str, Any]
    session: str | None = None

    @property
    def slug(self) -> str:
        """The readable part of the id, of which the slugs of stages that read this one are made."""
        return slug_of(self.id)


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of a grid and the stages it needs, by role, inputs first. `axes` is how the user named it."""

    key: str
    axes: Mapping[str, Any]
    spec: CellSpec
    stages: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As kept in a sweep's list of cells."""
        return {
            "key": self.key,
            "axes": dict(self.axes),
            "spec": self.spec.model_dump(mode="json"),
            "stages": dict(self.stages),
            "series": series_key(self.spec, self.stages),
            "notes": list(self.notes),
        }
