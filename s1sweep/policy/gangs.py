"""Where a job's bundles go: all of them at once, on as few nodes and with as few scraps left as is easily found."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import NamedTuple

from s1sweep.policy.values import Node, Request

Amount = tuple[float, float, float]  # cpus, gpus, engines
MANY = 1_000_000  # bundles that ask for nothing fit as often as one likes


class Hold(NamedTuple):
    """A claim on a node: who is there beyond `at` gets no more than `spare`."""

    at: float
    spare: Amount

    def binds(self, end: float) -> bool:
        """Whether it matters to a job that will be gone at `end`; infinite ends are unknown, so neither comes first."""
        return end > self.at or end == inf


def part_of(request: Request) -> Amount:
    """What one bundle takes."""
    n = request.bundles
    return request.cpus / n, request.gpus / n, request.engines / n


def room(amount: Amount, part: Amount) -> int:
    """How many bundles fit into an amount."""
    n = float(MANY)
    for have, want in zip(amount, part, strict=True):
        if want and have < n * want:
            n = have / want
    return int(n + 1e-9) if n > 0 else 0


def plus(a: Amount, b: Amount, times: float = 1) -> Amount:
    return a[0] + times * b[0], a[1] + times * b[1], a[2] + times * b[2]


def lesser(a: Amount, b: Amount) -> Amount:
    return min(a[0], b[0]), min(a[1], b[1]), min(a[2], b[2])


class Free:
    """What is free on each node, found by kind and number of GPUs."""

    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        self.of: dict[str, Amount] = {}
        self.kind: dict[str, str | None] = {}
        self._index: dict[str | None, dict[float, list[str]]] = {}
        for node in nodes:
            self.add(node, (node.cpus, node.gpus, node.engines))

    def copy(self) -> Free:
        other = Free()
        other.of, other.kind = self.of.copy(), self.kind  # a node never changes its kind
        other._index = {k: {gpus: names.copy() for gpus, names in v.items()} for k, v in self._index.items()}
        return other

    def add(self, node: Node, amount: Amount) -> None:
        self.kind[node.name] = node.gpu_kind
        self.of[node.name] = amount
        insort(self._names(node.name, amount), node.name)

    def drop(self, name: str) -> None:
        self._unlist(name)
        del self.of[name]

    def change(self, name: str, part: Amount, times: float) -> None:
        """Give (times > 0) or take (times < 0) so many parts."""
        self.set(name, plus(self.of[name], part, times))

    def set(self, name: str, amount: Amount) -> None:
        if amount[1] != self.of[name][1]:
            self._unlist(name)
            insort(self._names(name, amount), name)
        self.of[name] = amount

    def room(self, name: str, part: Amount, end: float, holds: Mapping[str, Hold]) -> int:
        """How many bundles of a job that will be gone at `end` fit on a node and leave what is held alone."""
        amount = self.of[name]
        hold = holds.get(name)
        if hold is not None and hold.binds(end):
            amount = lesser(amount, hold.spare)
        return room(amount, part)

    def place(
        self, request: Request, end: float = inf, holds: Mapping[str, Hold] | None = None
    ) -> tuple[str, ...] | None:
        """The node of each bundle; None if not all of them fit.

        One node if one can take all, the fullest such, so that whole nodes stay whole; else the emptiest ones.
        """
        part, left, held = part_of(request), request.bundles, holds or {}
        chosen: list[str] = []
        nodes = self.ordered(request.gpu_kind, part[1], emptiest_first=True)
        while True:
            used = set(chosen)
            for name in self.ordered(request.gpu_kind, part[1] * left):
                if name not in used and self.room(name, part, end, held) >= left:
                    return (*chosen, *[name] * left)
            if left == 1:
                return None
            for name in nodes:
                fit = min(left, self.room(name, part, end, held))
                if fit:
                    chosen += [name] * fit
                    left -= fit
                    break
            else:
                return None

    def ordered(self, kind: str | None, gpus: float, emptiest_first: bool = False) -> Iterator[str]:
        """Nodes of a kind with so many free GPUs, the fullest first."""
        found: list[tuple[float, list[str]]] = [
            (level, names)
            for k, levels in self._index.items()
            if kind is None or k == kind
            for level, names in levels.items()
            if names and (not gpus or level >= gpus - 1e-6)
        ]
        found.sort(key=lambda at: (at[0], at[1][0]), reverse=emptiest_first)
        for _, names in found:
            yield from names

    def _names(self, name: str, amount: Amount) -> list[str]:
        return self._index.setdefault(self.kind[name], {}).setdefault(round(amount[1], 6), [])

    def _unlist(self, name: str) -> None:
        names = self._names(name, self.of[name])
        del names[bisect_left(names, name)]
