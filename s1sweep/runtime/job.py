"""What the scheduler hands to a backend, and what comes back. Plain data; knows no backend and no stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from s1sweep.spec import Spec
from s1sweep.stages.resources import Request, Resources

FailureKind = Literal["bug", "out_of_memory", "worker_lost", "hung", "preempted", "cancelled", "store"]


@dataclass(frozen=True)
class Task:
    """One stage to run. `inputs` maps names to the ids of finished stages."""

    id: str
    kind: str
    spec: Spec
    hashed: Mapping[str, Any]
    inputs: Mapping[str, str]


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
class Outcome:
    """How one stage of a job ended. A failure names its kind, a message and the log."""

    stage_id: str
    ok: bool
    failure: FailureKind | None = None
    message: str = ""
    log: str | None = None
