"""An attempt is one try at a stage: its name, its files, how far it says it is, and how it failed.

The scheduler names attempts before they start, so that it knows which of a stage's tries it is looking at: those of
several shards run at the same time, and an old one's files may still lie beside a new one's.

    stages/<stage id>/<attempt>/log.txt         what it printed
    stages/<stage id>/<attempt>/progress.json   how far it is
    stages/<stage id>/<attempt>/timing.jsonl    a training's pace, step by step

Knows files; neither workers nor what a stage does.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

LOG = "log.txt"
PROGRESS = "progress.json"
TIMING = "timing.jsonl"
CHECKPOINTS = "checkpoints"
UNPUBLISHED = {LOG, PROGRESS, TIMING}

FailureKind = Literal["bug", "out_of_memory", "worker_lost", "hung", "preempted", "store"]


class Failure(BaseModel):
    """How an attempt failed: the whole message, what may help where that is known, and its log's path in the store.

    `time` is when it was written down, in seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: FailureKind
    message: str
    remedy: str = ""
    log: str | None = None
    time: float = 0.0

    def __str__(self) -> str:
        """The message and the remedy, whole."""
        if not self.remedy:
            return self.message
        return f"{self.message.rstrip().rstrip('.')}. {self.remedy.rstrip('.')}."

    def line(self, most: int = 200) -> str:
        """What fits in a row of a table: the first line, cut to `most` characters."""
        return one_line(str(self), most)


def one_line(text: str, most: int = 200) -> str:
    """The first line of a text, cut to `most` characters."""
    first = next(iter(text.strip().splitlines()), "")
    return first if len(first) <= most else f"{first[: most - 1]}…"


def attempt_name(shard: tuple[int, int] | None = None, of: str | None = None) -> str:
    """A new name, later ones sorting after earlier ones. Shards of one session are named alike: pass the session's
    name as `of` and which of how many the shard is.
    """
    own = secrets.token_hex(3)
    base = of or f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{own}"
    return base if shard is None else f"{base}.{shard[0] + 1}of{shard[1]}-{own}"


def newest(attempts: Iterable[str]) -> list[str]:
    """The attempts that began last: one, or the shards of one session."""
    names = sorted(attempts)
    if not names:
        return []
    base = names[-1].partition(".")[0]
    return [name for name in names if name.partition(".")[0] == base]


@dataclass(frozen=True)
class HowFar:
    """How far an attempt is: `done` of `total` units of its work, of which `began` were done before it started.

    `tokens` counts those that this attempt itself has made (decoded or trained on). `time` is when it said so, in
    seconds since the epoch.
    """

    done: float
    total: float
    began: float = 0.0
    tokens: float = 0.0
    time: float = 0.0

    @property
    def share(self) -> float:
        """How much of the stage is done, in [0, 1]."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def share_before(self) -> float:
        """How much of the stage was done before this attempt started, in [0, 1]."""
        return min(self.share, self.began / self.total) if self.total else 0.0

    def same(self, other: HowFar | None) -> bool:
        """Whether nothing became of it in between."""
        return other is not None and (self.done, self.total, self.tokens) == (other.done, other.total, other.tokens)


def together(shards: Iterable[HowFar], of: int) -> HowFar:
    """How far `of` shards of a stage are as one, where some of them may have said nothing yet."""
    said = list(shards)
    share = sum(one.share for one in said) / of
    total = sum(one.total for one in said)
    return HowFar(share * total, total, 0.0, sum(one.tokens for one in said), max((s.time for s in said), default=0.0))


def write_progress(attempt: Path, done: float, total: float, began: float = 0.0, tokens: float = 0.0) -> None:
    """Say how far an attempt is, in its folder; readers see the old or the new, never a torn file. See `HowFar`."""
    said = {"done": done, "total": total, "began": began, "tokens": tokens, "time": round(time.time(), 3)}
    aside = attempt / f".{PROGRESS}"
    aside.write_text(json.dumps(said))
    os.replace(aside, attempt / PROGRESS)


def read_progress(attempt: Path) -> HowFar | None:
    """What an attempt last said of itself; None if it has said nothing that can be read."""
    try:
        said = json.loads((attempt / PROGRESS).read_text(encoding="utf-8"))
        return HowFar(**{name: float(said.get(name, 0.0)) for name in ("done", "total", "began", "tokens", "time")})
    except (OSError, ValueError, AttributeError, TypeError):
        return None
