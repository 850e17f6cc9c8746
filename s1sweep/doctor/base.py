"""What a check is given and what it says. Knows no check."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from s1sweep.errors import UserError
from s1sweep.planning import Stage, pins
from s1sweep.session import Session
from s1sweep.spec import CellConfig, CellSpec, Placement, Tracking
from s1sweep.store import Store

Level = Literal["ok", "warning", "fault"]
_SECRET = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD)$")


@dataclass(frozen=True)
class CheckResult:
    """One thing that was looked at. A fault keeps a sweep from running; a warning does not."""

    check: str
    level: Level
    said: str
    todo: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Asked:
    """The sweep that is to run: its cells as composed, and the command that named them."""

    command: tuple[str, ...]
    configs: Sequence[CellConfig]

    @property
    def placement(self) -> Placement:
        return self.configs[0].placement

    @property
    def tracking(self) -> Tracking:
        return self.configs[0].tracking

    @property
    def root(self) -> Path:
        return Path(self.placement.root).expanduser().absolute()

    @property
    def on_a_cluster(self) -> bool:
        """Whether stages run on other machines than this one."""
        return self.placement.ray_address is not None

    @cached_property
    def cells(self) -> list[CellSpec]:
        """With the revisions that the store has pinned. Raises UserError if its pins are damaged."""
        known = pins.read(Store(self.root))
        return [pins.pinned(config.cell, known) for config in self.configs]

    @cached_property
    def session(self) -> Session:
        """The sweep, planned and not run. Raises UserError on what a plan refuses."""
        session = Session(command=self.command, run=False)
        session(list(self.configs))
        return session

    def missing(self, kind: str) -> list[Stage]:
        """Stages of a kind that have to run; none if it cannot be planned, which has a finding of its own."""
        try:
            stages = self.session.missing()
        except UserError:
            return []
        return [stage for stage in stages.values() if stage.kind == kind]


Check = Callable[[Asked], Iterable[CheckResult]]


def without_secrets(text: str) -> str:
    """The text without the value of any variable of the environment that is named like a secret."""
    for name, value in os.environ.items():
        if _SECRET.search(name.upper()) and len(value) >= 4:
            text = text.replace(value, f"${name}")
    return text


def first_line(error: Any) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]
