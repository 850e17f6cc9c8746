"""What the scheduler hands to a backend, and what comes back. Plain data; knows no backend and no stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s1sweep.policy import Request
from s1sweep.spec import Spec
from s1sweep.stages.resources import Resources
from s1sweep.store import Failure


@dataclass(frozen=True)
class Task:
    """One attempt at a stage, by the name that its files will have. `inputs` maps names to ids of finished stages."""

    id: str
    kind: str
    spec: Spec
    hashed: Mapping[str, Any]
    inputs: Mapping[str, str]
    attempt: str


@dataclass(frozen=True)
class Job:
    """Stages that run together in one worker: one training, one grading, or all that one engine session serves.

    `code` is a folder that comes first on the worker's path, or the URL of one that is to be brought first. `store` is
    the name of the store that the scheduler has at `root`.
    """

    id: str
    kind: str
    tasks: tuple[Task, ...]
    request: Request
    resources: Resources
    root: str
    store: str
    code: str | None = None


@dataclass(frozen=True)
class StageOutcome:
    """How one stage of a job ended: well, or with a failure."""

    stage_id: str
    failure: Failure | None = None

    @property
    def ok(self) -> bool:
        return self.failure is None
