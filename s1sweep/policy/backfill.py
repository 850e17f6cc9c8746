"""Reservation and EASY backfill (Lifka 1995; Mu'alem and Feitelson 2001): who does not fit is promised the earliest
time at which it will, and others start meanwhile only if they are gone by then or leave its place alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from s1sweep.policy.gangs import Amount, Free, Hold, lesser, part_of, plus, room
from s1sweep.policy.values import Request, Running, Waiting


class Reservation(NamedTuple):
    """The earliest time a job could start (infinite where what it waits for ends at an unknown time), and where."""

    job: Waiting
    at: float
    nodes: tuple[str, ...]
    free: int  # bundles that would fit now


@dataclass
class Holds:
    """What reservations leave on the nodes they claim."""

    on: dict[str, Hold] = field(default_factory=dict)
    taken: dict[str, Amount] = field(default_factory=dict)

    def reserve(self, job: Waiting, free: Free, running: Iterable[Running], now: float) -> Reservation | None:
        """Promise the job its place. `running` in order of their ends. None if it never fits beside other promises."""
        request = job.request
        fitting, ending, later = until_it_fits(request, self.left(free), running)
        nodes = later.place(request)
        if nodes is None:
            return None
        at = max(now, ending[-1].end) if ending else now
        part = part_of(request)
        for name, n in Counter(nodes).items():
            mine = Hold(at, plus(later.of[name], part, -n))
            had = self.on.get(name)
            # Two promises on one node: whoever stays beyond the earlier leaves both alone.
            self.on[name] = Hold(min(had.at, at), lesser(had.spare, mine.spare)) if had else mine
            self.taken[name] = plus(self.taken.get(name, (0.0, 0.0, 0.0)), part, n)
        return Reservation(job, at, nodes, fitting)

    def use(self, name: str, part: Amount, n: int, end: float) -> None:
        """So many bundles of a job that ends at `end` start on a node."""
        hold = self.on.get(name)
        if hold is not None and hold.binds(end):
            self.on[name] = Hold(hold.at, plus(hold.spare, part, -n))

    def left(self, free: Free) -> Free:
        """What is free and promised to nobody; less than nothing where a promise waits for an end."""
        if not self.taken:
            return free
        less = free.copy()
        for name, amount in self.taken.items():
            less.change(name, amount, -1)
        return less


def until_it_fits(request: Request, free: Free, running: Iterable[Running]) -> tuple[int, list[Running], Free]:
    """How many bundles fit; the running jobs that must end, as ordered, until all fit; and what is free then."""
    part, kind = part_of(request), request.gpu_kind
    fit = now = sum(room(free.of[name], part) for name in free.ordered(kind, part[1]))
    gone: list[Running] = []
    changed: dict[str, Amount] = {}
    for run in running:
        if fit >= request.bundles:
            break
        gone.append(run)
        gives = part_of(run.job.request)
        for name in run.nodes:
            before = changed[name] if name in changed else free.of.get(name)
            if before is None:  # an excluded node
                continue
            after = plus(before, gives)
            changed[name] = after
            if kind is None or free.kind[name] == kind:
                fit += room(after, part) - room(before, part)
    later = free.copy()
    for name, amount in changed.items():
        later.set(name, amount)
    return now, gone, later
