"""A store's files in an object store, through fsspec: S3 and what speaks like it, Google Cloud Storage, or memory.

    $S1SWEEP_CACHE/<digest of the URL>/      the local places (default ~/.cache/s1sweep); a cache, and may be deleted

Objects appear whole; `create` is a conditional put (S3: `If-None-Match: *`; GCS: generation 0), and since some servers
take the header and ignore it, `lock` first tries it on an object of its own. A lock is a lease: an object with a time
at which it ends, renewed while its holder lives. A request that fails for a passing reason is sent again.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from s1sweep.errors import StoreUnavailable, UserError, invalid
from s1sweep.store.leases import Leases
from s1sweep.store.storage import FULL, Info, LockHeld, cannot_write

# Filesystems of fsspec whose mode="create" is one conditional request; in others it is a look, then a write.
EXCLUSIVE = ("s3", "s3a", "gs", "gcs", "memory")
PACKAGES = {"s3fs": "s1sweep[s3]", "gcsfs": "gcsfs", "fsspec": "s1sweep[s3]"}
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each further try
_T = TypeVar("_T")


class ObjectFiles:
    """Files below `url`, say `s3://bucket/prefix`. Keys and endpoints are fsspec's own: its config or environment."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        protocol, _, self._base = self.url.partition("://")
        if protocol not in EXCLUSIVE:
            raise invalid(
                "placement.root's protocol", protocol, EXCLUSIVE, "A store needs an exclusive create, known for these."
            )
        try:
            import fsspec

            # No listings of ours may be older than another machine's writes.
            self._fs: Any = fsspec.filesystem(protocol, use_listings_cache=False)
        except ImportError as error:
            package = PACKAGES.get(error.name or "", error.name)
            raise UserError(f"placement.root={url!r} needs {error.name}: pip install '{package}'.") from error
        cache = os.environ.get("S1SWEEP_CACHE") or Path.home() / ".cache" / "s1sweep"
        self.local = Path(cache).expanduser().absolute() / hashlib.sha256(self.url.encode()).hexdigest()[:16]

    def read(self, path: str) -> bytes | None:
        try:
            return bytes(self._call(path, lambda: self._fs.cat_file(self._at(path)), write=False))
        except FileNotFoundError:
            return None

    def create(self, path: str, data: bytes) -> bool:
        try:
            self._call(path, lambda: self._fs.pipe_file(self._at(path), data, mode="create"))
        except FileExistsError:
            return self.read(path) == data  # ours, if an earlier try arrived and only its answer was lost
        return True

    def replace(self, path: str, data: bytes) -> None:
        self._call(path, lambda: self._fs.pipe_file(self._at(path), data))

    def append(self, path: str, lines: bytes) -> None:
        """One object an addition: nothing needs to be read and written back, so two who add at once both do."""
        name = f"{time.time_ns():020d}-{hashlib.sha256(lines).hexdigest()[:12]}"
        self.create(f"{path}.d/{name}", lines)

    def lines(self, path: str) -> bytes:
        return b"".join(self.read(f"{path}.d/{name}") or b"" for name in self.tree(f"{path}.d"))

    def remove(self, path: str) -> None:
        below = [self._at(f"{path}/{name}") for name in self.tree(path)]
        for place in below or [self._at(path)]:
            with suppress(FileNotFoundError):
                self._call(path, partial(self._fs.rm_file, place), write=False)

    def names(self, path: str) -> list[str]:
        try:
            found = self._call(path, lambda: self._fs.ls(self._at(path), detail=True), write=False)
        except FileNotFoundError:
            return []
        return sorted(one["name"].rstrip("/").rpartition("/")[2] for one in found if one["type"] == "directory")

    def tree(self, path: str) -> dict[str, Info]:
        def find() -> dict[str, Any]:
            return self._fs.find(self._at(path), detail=True)

        try:
            found = self._call(path, find, write=False)
        except FileNotFoundError:
            return {}
        base = self._fs._strip_protocol(self._at(path)) + "/"
        return {
            name.removeprefix(base): Info(int(one["size"]), _changed(one))
            for name, one in sorted(found.items())
            if name.startswith(base)
        }

    def put(self, path: str) -> None:
        self._call(path, lambda: self._fs.put_file(str(self.local / path), self._at(path)))

    def fetch(self, path: str, size: int, sha256: str) -> None:
        place = self.local / path
        if place.exists() and place.stat().st_size == size:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        try:
            self._call(path, lambda: self._fs.get_file(self._at(path), str(aside)), write=False)
            with aside.open("rb") as f:
                found = hashlib.file_digest(f, "sha256").hexdigest()
            if found != sha256:
                raise StoreUnavailable(
                    f"{self._at(path)} has sha256 {found[:12]}…, and its record says {sha256[:12]}…: damaged. "
                    "`s1sweep store verify` lists what is."
                )
            os.replace(aside, place)
        except FileNotFoundError:
            return  # its reader says that it is not there, as on a filesystem
        finally:
            aside.unlink(missing_ok=True)

    def sha256(self, path: str) -> str:
        h = hashlib.sha256()
        with self._fs.open(self._at(path), "rb") as f:
            while chunk := f.read(1 << 22):
                h.update(chunk)
        return h.hexdigest()

    @contextmanager
    def lock(self, path: str, holder: str) -> Iterator[None]:
        self._try_create()
        leases = Leases(self, path.rpartition("/")[0], f"{holder} ({secrets.token_hex(4)})")
        name = path.rpartition("/")[2]
        with leases:
            if not leases.take(name):
                held = leases.holder(name)
                who = held.owner if held else "unknown"
                raise LockHeld(f"{who}; a dead one's lock ends within {leases.longest:.0f} s")
            yield

    def locked(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        held = Leases(self, folder, "").holder(name)
        return held.owner if held else None

    def _try_create(self) -> None:
        """Raise UserError if this server lets the second of two exclusive creates succeed."""
        path = f".exclusive-{secrets.token_hex(8)}"
        first = self.create(path, b"1")
        try:
            if not first or self.create(path, b"2"):
                raise UserError(
                    f"placement.root={self.url!r}: this server overwrites what an exclusive create should keep "
                    "(If-None-Match is ignored), so two runs could spoil each other's records. Use another server."
                )
        finally:
            self.remove(path)

    def _at(self, path: str) -> str:
        return f"{self._base}/{path}" if path else self._base

    def _call(self, path: str, request: Callable[[], _T], write: bool = True) -> _T:
        """Send a request, and again if it fails for a reason that may pass."""
        for wait in (*WAITS, None):
            try:
                with _ONE if self.url.startswith("memory:") else _NONE:
                    return request()
            except FileExistsError:
                raise
            except Exception as error:  # what a client raises for a lost connection or a 5xx differs by client
                if _refused(error):
                    raise FileExistsError(path) from error
                missing = isinstance(error, FileNotFoundError)
                if missing and not write:
                    raise
                final = missing or isinstance(error, PermissionError) or getattr(error, "errno", None) in FULL
                if wait is not None and not final:
                    time.sleep(wait * random.uniform(0.75, 1.25))
                elif write:
                    raise cannot_write(self.url, path, error) from error
                else:
                    raise StoreUnavailable(
                        f"{self.url}/{path} cannot be read ({type(error).__name__}: {error}). "
                        "When the store answers again, give the same command again."
                    ) from error
        raise AssertionError("unreachable")


_ONE, _NONE = threading.RLock(), nullcontext()  # fsspec's memory has no exclusive create of its own


def _refused(error: Exception) -> bool:
    """Whether a server said that a condition does not hold; s3fs knows that word only from AWS itself."""
    said = getattr(error.__cause__, "response", None) or {}
    return "PreconditionFailed" in str(said.get("Error", {}).get("Code", "")) or getattr(error, "code", None) == 412


def _changed(info: dict[str, Any]) -> float:
    when = info.get("LastModified") or info.get("mtime") or info.get("updated") or info.get("created") or 0
    if isinstance(when, str):
        from datetime import datetime

        return datetime.fromisoformat(when).timestamp()
    return when.timestamp() if hasattr(when, "timestamp") else float(when)
