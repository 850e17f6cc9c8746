"""Leases: who is at work on what, where several schedulers share a store. They only save double work.

    <folder>/<name>                  {"owner", "token", "expires"}: renewed while its owner lives, removed when done
    <folder>/.<name>.after-<token>   the lease that took over from the one with that token

A lease whose time is over, by more than SKEW seconds, is dead and may be taken over, by an exclusive create of the file
that follows it: of many that try, one succeeds, and the last in the row holds. A file is written and removed by its
maker alone, and only while its time is not over. So whoever is taken over from never writes beside whoever takes over:
clocks that differ by less than SKEW never make two owners of one lease. If they differ by more, or an owner stalls in
a write for longer, work is done twice and the first record wins. A lease of one's own name is one's own: an owner that
was killed and started again goes on.
Knows names and times; not stages, schedulers or where the files are.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from s1sweep.errors import StoreUnavailable

TTL = 60.0  # seconds a lease lasts without renewal
SKEW = 30.0  # seconds by which the clocks of two owners may differ
AFTER = re.compile(r"\.(.+)\.after-\w+")


class Documents(Protocol):
    """The part of `storage.Files` that leases need."""

    def read(self, path: str) -> bytes | None: ...
    def create(self, path: str, data: bytes) -> bool: ...
    def replace(self, path: str, data: bytes) -> None: ...
    def remove(self, path: str) -> None: ...
    def tree(self, path: str) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Lease:
    """Who holds something, and until when (seconds since the epoch, by the holder's clock)."""

    owner: str
    token: str
    expires: float

    def live(self, now: float) -> bool:
        """Whether the holder may still be at work, whatever our clocks say within SKEW."""
        return now <= self.expires + SKEW

    def encode(self) -> bytes:
        return json.dumps(self.__dict__, sort_keys=True).encode()

    @staticmethod
    def decode(data: bytes | None) -> Lease | None:
        """A lease from its bytes; None for what is none."""
        try:
            found = json.loads(data or b"")
            return Lease(str(found["owner"]), str(found["token"]), float(found["expires"]))
        except (ValueError, KeyError, TypeError):
            return None


class Leases:
    """Leases in one folder, as one owner takes and sees them. As a context, it renews what it holds, then lets go."""

    def __init__(
        self,
        files: Documents,
        folder: str,
        owner: str,
        clock: Callable[[], float] = time.time,
        ttl: float = TTL,
    ) -> None:
        self._files, self._folder, self._owner = files, folder, owner
        self._clock, self._ttl = clock, ttl
        self._held: dict[str, tuple[Lease, list[str]]] = {}  # with the files of those before it and, last, its own
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self.longest = ttl + SKEW

    def __enter__(self) -> Leases:
        self._tidy()
        threading.Thread(target=self._renewing, name="leases", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.drop(list(self._held))

    def take(self, name: str) -> bool:
        """Take a free, dead or own lease; False if another owner's is live."""
        with self._lock:
            if name in self._held:
                return True
            mine = Lease(self._owner, secrets.token_hex(6), self._end())
            paths = [self._path(name)]
            while not self._files.create(paths[-1], mine.encode()):
                found = self._read(paths[-1])
                if found is None or self._stands(found):
                    return False  # None: it was just let go of, and is free the next time
                paths.append(self._after(name, found.token))
            if len(paths) > 1 and self._row(name)[: len(paths)] != paths:
                self._files.remove(paths[-1])  # what it follows was let go of before it was there
                return False
            if self._clock() > mine.expires:
                return False  # taking it took so long that another may have it by now
            self._held[name] = mine, paths
            return True

    def drop(self, names: Iterable[str]) -> None:
        """Let go of what is held; what another has taken over, or may have, stays."""
        for name in names:
            with self._lock:
                lease, paths = self._held.pop(name, (None, []))
                if lease is None or self._clock() > lease.expires or self._taken(name, lease):
                    continue
                for path in paths:  # without the first, the others stand for nothing
                    self._files.remove(path)

    def holder(self, name: str) -> Lease | None:
        """The live lease on something, whoever's it is."""
        path, now = self._path(name), self._clock()
        while (lease := self._read(path)) is not None and not lease.live(now):
            path = self._after(name, lease.token)
        return lease

    def names(self) -> set[str]:
        """What there are leases on, live or dead."""
        return {name for name in self._files.tree(self._folder) if not name.startswith(".")}

    def live(self) -> dict[str, Lease]:
        """All live leases of the folder, by name."""
        return {name: lease for name in sorted(self.names()) if (lease := self.holder(name)) is not None}

    def others(self) -> set[str]:
        """Names under live leases of other owners."""
        names = self.names() - self._held.keys()
        return {name for name in names if (lease := self.holder(name)) and lease.owner != self._owner}

    def renew(self) -> None:
        """Put off the end of what is held. A lease whose time is over is taken anew, unless another has taken it."""
        for name in list(self._held):
            with self._lock:
                if name not in self._held:
                    continue
                lease, paths = self._held[name]
                taken = self._taken(name, lease)
                if not taken and self._clock() <= lease.expires:
                    lease = replace(lease, expires=self._end())
                    self._files.replace(paths[-1], lease.encode())
                    self._held[name] = lease, paths
                    continue
                del self._held[name]
                if taken or not self.take(name):
                    holder = self.holder(name)
                    who = holder.owner if holder else "another"
                    logging.getLogger(__name__).warning("%s was taken over by %s", self._path(name), who)

    def _renewing(self) -> None:
        while not self._stop.wait(self._ttl / 4):
            try:
                self.renew()
            except StoreUnavailable as error:  # tried again soon; a lease that ends meanwhile costs double work at most
                logging.getLogger(__name__).warning("leases not renewed: %s", error)

    def _tidy(self) -> None:
        """Remove what follows no lease any more: left by who was killed while letting go, or while taking over."""
        found: dict[str, list[str]] = {}
        for file in self._files.tree(self._folder):
            if match := AFTER.fullmatch(file):
                found.setdefault(match[1], []).append(f"{self._folder}/{file}")
        for name, paths in found.items():
            row = self._row(name)  # looked at later than the list: what is not in it now never will be
            for path in paths:
                if path not in row:
                    self._files.remove(path)

    def _row(self, name: str) -> list[str]:
        """The files of a lease and of those that took it over, the oldest first."""
        found, path = [], self._path(name)
        while (lease := self._read(path)) is not None:
            found.append(path)
            path = self._after(name, lease.token)
        return found

    def _read(self, path: str) -> Lease | None:
        """The lease in a file; what is none is a dead one of nobody."""
        data = self._files.read(path)
        if data is None:
            return None
        return Lease.decode(data) or Lease("", hashlib.sha256(data).hexdigest()[:12], float("-inf"))

    def _stands(self, lease: Lease) -> bool:
        """Whether it may not be taken over: it is live, and another owner's."""
        return lease.owner != self._owner and lease.live(self._clock())

    def _taken(self, name: str, lease: Lease) -> bool:
        """Whether another has taken over from a lease of ours."""
        return self._files.read(self._after(name, lease.token)) is not None

    def _end(self) -> float:
        return round(self._clock() + self._ttl, 3)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _after(self, name: str, token: str) -> str:
        return f"{self._folder}/.{name}.after-{token}"
