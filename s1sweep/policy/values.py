"""What the policy speaks of: nodes, waiting and running jobs, and the settings of its rules. Times are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Literal, NamedTuple


class Request(NamedTuple):
    """What a job occupies while it runs, in all: `bundles` equal parts, each of which must lie on one node.

    A job starts with all its bundles or not at all. `gpu_kind` names the GPUs it needs; None takes any.
    """

    cpus: float
    gpus: float = 0.0
    engines: float = 0.0
    bundles: int = 1
    gpu_kind: str | None = None


@dataclass(frozen=True)
class Node:
    """What a node has. A flat pool, such as this machine, is one node."""

    cpus: float
    gpus: float = 0.0
    engines: float = 0.0
    gpu_kind: str | None = None
    name: str = "here"


Capacity = Node


@dataclass(frozen=True)
class Waiting:
    """A job that could start.

    Higher `priority` first. Of one user's jobs lower `rank` first; within a rank, the most work that hangs on it
    (`weight`). `submitted` is when the user asked for it, not when it became ready; `expected` is how long it will
    take.
    """

    id: str
    request: Request
    rank: int = 0
    weight: float = 0.0
    user: str = ""
    priority: int = 0
    submitted: float = 0.0
    expected: float = inf
    preemptible: bool = False


@dataclass(frozen=True)
class Running:
    """A job that runs: the node of each bundle (none named: on the only node), and when its work was last saved.

    `stopping` has been asked to give way and will soon be gone.
    """

    job: Waiting
    nodes: tuple[str, ...] = ()
    started: float = 0.0
    saved: float | None = None
    stopping: bool = False

    @property
    def end(self) -> float:
        return -inf if self.stopping else self.started + self.job.expected

    def lost(self, now: float, width: float) -> float:
        """What stopping it now would waste, in `width` (GPUs, or cores) times seconds."""
        return width * (now - (self.started if self.saved is None else self.saved))


@dataclass(frozen=True)
class Rules:
    """Settings of the policy. `backfill=none` (a job that does not fit stops all behind it) and `greedy` (nothing is
    ever reserved) are there to be compared with.

    `weights` are users' entitlements, 1 where none is given. Users are compared by what they will have used in `ahead`
    seconds if all that they run goes on.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    ahead: float = 600.0
    fair: bool = True
    backfill: Literal["easy", "greedy", "none"] = "easy"
    preempt: bool = True
    preempt_for_share: bool = False


USUAL = Rules()
