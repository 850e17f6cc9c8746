"""What a stage's own code is called with, and what it says at its end. Plain data; knows no backend and no stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from s1sweep.stages.resources import Resources

RankFunction = Callable[[dict[str, Any]], None]
LaunchRanks = Callable[[RankFunction, dict[str, Any], Resources], None]


@dataclass(frozen=True)
class Item:
    """One stage as its own code sees it: a spec, finished inputs as directories, a directory to write."""

    spec: Any
    inputs: Mapping[str, Path]
    out: Path


@dataclass(frozen=True)
class Done:
    """What a stage says at its end: a summary that is part of the result, and what it cost, which is not.

    `started` is when its own work began, in seconds since the epoch, where several stages share a worker at one time.
    """

    summary: Mapping[str, Any]
    cost: Mapping[str, Any] = field(default_factory=dict)
    started: float | None = None
