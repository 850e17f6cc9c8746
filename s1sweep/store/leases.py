"""Leases: who is at work on what, where several schedulers share a store. They only save double work.

    <folder>/<name>     {"owner", "token", "expires"}: renewed while its owner lives, removed when it is done

A lease whose time is over, by more than SKEW seconds, is dead and may be taken over. Clocks that differ by less than
SKEW never make two owners of one lease; if they differ by more, or an owner stalls for longer, work is done twice and
the first record wins. A lease of one's own name is one's own: an owner that was killed and started again goes on.
Knows names and times; not stages, schedulers or where the files are.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from s1sweep.errors import StoreUnavailable

TTL = 60.0  # seconds a lease lasts without renewal
SKEW = 30.0  # seconds by which the clocks of two owners may differ


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
        self._token = secrets.token_hex(6)
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.longest = ttl + SKEW

    def __enter__(self) -> Leases:
        threading.Thread(target=self._renewing, name="leases", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.drop(list(self._held))

    def take(self, name: str) -> bool:
        """Take a free, dead or own lease; False if another owner's is live."""
        if name in self._held:
            return True
        mine = self._new()
        if not self._files.create(self._path(name), mine.encode()):
            found = Lease.decode(self._files.read(self._path(name)))
            if found is not None and found.owner != self._owner and found.live(self._clock()):
                return False
            self._files.replace(self._path(name), mine.encode())
            # Of several that replace a dead lease at once, the last one has it.
            found = Lease.decode(self._files.read(self._path(name)))
            if found is not None and found.token != self._token:
                return False
        with self._lock:
            self._held.add(name)
        return True

    def drop(self, names: Iterable[str]) -> None:
        """Let go of what is held; what another has taken over stays."""
        for name in names:
            with self._lock:
                held = name in self._held
                self._held.discard(name)
                if held:
                    found = Lease.decode(self._files.read(self._path(name)))
                    if found is not None and found.token == self._token:
                        self._files.remove(self._path(name))

    def holder(self, name: str) -> Lease | None:
        """The live lease on something, whoever's it is."""
        found = Lease.decode(self._files.read(self._path(name)))
        return found if found is not None and found.live(self._clock()) else None

    def live(self) -> dict[str, Lease]:
        """All live leases of the folder, by name."""
        names = [name for name in self._files.tree(self._folder) if not name.startswith(".")]
        return {name: lease for name in names if (lease := self.holder(name)) is not None}

    def others(self) -> set[str]:
        """Names under live leases of other owners."""
        names = {name for name in self._files.tree(self._folder) if not name.startswith(".")} - self._held
        return {name for name in names if (lease := self.holder(name)) and lease.owner != self._owner}

    def renew(self) -> None:
        """Put off the end of what is held. A lease that another took over is lost, and not taken back."""
        for name in list(self._held):
            with self._lock:
                if name not in self._held:
                    continue
                found = Lease.decode(self._files.read(self._path(name)))
                if found is not None and found.token != self._token:
                    self._held.discard(name)
                    logging.getLogger(__name__).warning("%s was taken over by %s", self._path(name), found.owner)
                    continue
                self._files.replace(self._path(name), self._new().encode())

    def _renewing(self) -> None:
        while not self._stop.wait(self._ttl / 4):
            try:
                self.renew()
            except StoreUnavailable as error:  # tried again soon; a lease that ends meanwhile costs double work at most
                logging.getLogger(__name__).warning("leases not renewed: %s", error)

    def _new(self) -> Lease:
        return Lease(self._owner, self._token, round(self._clock() + self._ttl, 3))

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"
