"""Waiting jobs in the order in which each user's start, grouped so that a decision looks at few of them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from math import frexp, inf

from s1sweep.policy.values import Request, Waiting

DAY = 86_400.0
# What decides among a user's jobs of one priority, the best first; the id makes it total.
Entry = tuple[float, int, float, str, Waiting]
# Jobs that ask for the same and take about as long (within a factor of two), in order.
Group = list[Entry]
Groups = dict[Request, dict[int, Group]]


class Queue:
    """Waiting jobs by priority, user, request and about how long they take.

    A user's job is overtaken only by what the user submitted less than `patience` seconds after it: whatever comes
    later waits, so nothing starves, and the order never depends on the time of day it is asked for.
    """

    def __init__(self, jobs: Iterable[Waiting] = (), patience: float = DAY) -> None:
        self.levels: dict[int, dict[str, Groups]] = {}
        self._patience = patience
        self._jobs: dict[str, Waiting] = {}
        touched: dict[int, Group] = {}
        for job in jobs:
            group = self._enter(job)
            group.append(self._entry(job))
            touched[id(group)] = group
        for group in touched.values():
            group.sort()

    def add(self, job: Waiting) -> None:
        insort(self._enter(job), self._entry(job))

    def remove(self, name: str) -> Waiting:
        """Take a job out. KeyError if it does not wait."""
        job = self._jobs.pop(name)
        users = self.levels[job.priority]
        groups = users[job.user]
        lengths = groups[job.request]
        group = lengths[_about(job.expected)]
        del group[bisect_left(group, self._entry(job))]
        # Nothing empty is kept: decisions walk all that is here.
        if not group:
            del lengths[_about(job.expected)]
            if not lengths:
                del groups[job.request]
                if not groups:
                    del users[job.user]
                    if not users:
                        del self.levels[job.priority]
        return job

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(self._jobs.values())

    def __contains__(self, name: object) -> bool:
        return name in self._jobs

    def _enter(self, job: Waiting) -> Group:
        if job.id in self._jobs:
            raise ValueError(f"job {job.id!r} waits already")
        self._jobs[job.id] = job
        groups = self.levels.setdefault(job.priority, {}).setdefault(job.user, {})
        return groups.setdefault(job.request, {}).setdefault(_about(job.expected), [])

    def _entry(self, job: Waiting) -> Entry:
        return job.submitted // self._patience, job.rank, -job.weight, job.id, job


def _about(seconds: float) -> int:
    return 10_000 if seconds == inf else frexp(seconds)[1]
