"""How far running jobs are, by what their own attempts say, and which of them have not got further for too long.

Reads the progress of attempts; decides nothing about what hangs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from s1sweep.runtime.pending import Group, Pending
from s1sweep.store.attempts import HowFar, read_progress

WATCHED = ("train", "decode")  # say from the start how far they are; others are judged once they have said something
SHARDED = 0.95  # of a session's work is done when its shards have ended: it reads what they have decoded


@dataclass
class Watched:
    """What a job's attempts last said, by stage, when that was news, and the tokens that they have made."""

    group: Group
    attempts: Mapping[str, Path]
    changed: float
    said: dict[str, HowFar] = field(default_factory=dict)

    @property
    def tokens(self) -> float:
        return sum(far.tokens for far in self.said.values())

    def look(self, now: float) -> float:
        """Read the attempts again. Seconds since they said something new; `now` is a clock that never goes back."""
        for name, path in self.attempts.items():
            far = read_progress(path)
            if far is not None and not far.same(self.said.get(name)):
                self.said[name], self.changed = far, now
        return now - self.changed


class Watch:
    """The running jobs of a scheduler. `visible`: this machine sees what attempts write while they run."""

    def __init__(self, pending: Pending, visible: bool) -> None:
        self._pending, self._visible = pending, visible
        self._jobs: dict[str, Watched] = {}

    def started(self, group: Group, attempts: Mapping[str, Path], now: float) -> None:
        """A job started; `attempts` are the folders of its attempts, by stage."""
        self._jobs[group.id] = Watched(group, attempts, now)

    def ended(self, group_id: str) -> float:
        """A job ended; the tokens that it made, as far as it said."""
        job = self._jobs.pop(group_id, None)
        return job.tokens if job else 0.0

    def look(self, now: float) -> dict[str, float]:
        """Read what all jobs say; gives how long those whose silence means something have said nothing new, by job."""
        silent = {}
        for name, job in self._jobs.items():
            seconds = job.look(now)
            if job.said or (self._visible and job.group.kind in WATCHED):
                silent[name] = seconds
        return silent

    def tokens(self, group_id: str) -> float:
        """Tokens that a running job has made so far."""
        return self._jobs[group_id].tokens

    def how_far(self) -> dict[str, HowFar]:
        """How far each running stage is: one whose session runs in shards by all of them together."""
        found: dict[str, HowFar] = {}
        shards: dict[str, list[HowFar]] = {}
        of: dict[str, int] = {}
        for job in self._jobs.values():
            for name, far in job.said.items():
                if job.group.shard is not None:
                    shards.setdefault(name, []).append(far)
                    of[name] = job.group.shard[1]
                elif self._pending.sharded(name):
                    found[name] = HowFar(SHARDED + (1 - SHARDED) * far.share, 1.0)
                else:
                    found[name] = far
        for name, said in shards.items():
            ended = of[name] - self._pending.shards_left(name)
            share = SHARDED * (ended + sum(far.share for far in said)) / of[name]
            found[name] = HowFar(share, 1.0)
        return found

    def __len__(self) -> int:
        return sum(len(job.attempts) for job in self._jobs.values())
