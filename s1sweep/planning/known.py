"""Under which id a piece of work goes: a store may have it under another readable name.

A slug can hold a label (a model's name), which is of no identity, and an id with its slug is hashed by the stages that
read it. So work is looked up by kind and digest, and keeps the id under which it was begun. Knows ids and a listing of
a store; not what stages are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from s1sweep.identity import digest_of, kind_of
from s1sweep.store import Store


class KnownIds:
    """Ids by kind and digest: those that a store has, and beside them the first for each work that it has not.

    `finished` says whether a stage of the store has a record. It is asked only of work that has several names there.
    """

    def __init__(self, ids: Iterable[str] = (), finished: Callable[[str], bool] = lambda _: False) -> None:
        self._finished = cache(finished)
        self._stored: dict[tuple[str, str], list[str]] = {}
        self._first: dict[tuple[str, str], str] = {}
        for name in sorted(set(ids)):
            self._stored.setdefault(_work(name), []).append(name)

    @staticmethod
    def of(store: Store) -> KnownIds:
        """The ids of the stages that a store holds or somebody is at work on. Costs two listings."""
        return KnownIds([*store.stage_ids(), *store.leases("").names()], lambda name: _readable(store, name))

    def id_for(self, own: str) -> str:
        """The id for the work that would be `own` if nothing were known: a finished stage's before one that was only
        begun, of several its own.
        """
        work = _work(own)
        return self.stored(*work, own) or self._first.setdefault(work, own)

    def stored(self, kind: str, digest: str, own: str = "") -> str | None:
        """The same of what the store has, for work by its kind and the hex digits of its ids; None if it has none."""
        names = self._stored.get((kind, digest), ())
        if len(names) > 1:
            return min(names, key=lambda name: (not self._finished(name), name != own))
        return names[0] if names else None

    def kinds(self) -> set[str]:
        """The kinds of stages that the store has."""
        return {kind for kind, _ in self._stored}


def _work(stage_id: str) -> tuple[str, str]:
    return kind_of(stage_id), digest_of(stage_id)


def _readable(store: Store, name: str) -> bool:
    try:
        return store.record(name) is not None
    except ValueError:  # damaged: whoever wants this very stage is told
        return False
