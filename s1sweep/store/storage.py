"""Where a store's files are: a filesystem, or an object store behind an fsspec URL. The one seam between the two.

Paths are relative and use `/`. Every path has a place on this machine too, `files.local / path`: on a filesystem the
file itself, for a URL a cache of it. Small JSON goes through `read`, `create`, `replace` and `append`; outputs are
written in the local place, then `put`, and before they are used they are brought there by `fetch`.
Knows bytes and paths; not what they mean. fsspec is imported where a URL is opened, and nowhere else.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from s1sweep.errors import StoreUnavailable, UserError

FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Info:
    """Size in bytes, and the time of the last change in seconds since the epoch."""

    bytes: int
    time: float


class LockHeld(UserError):
    """A lock is held by another process, which the message names."""


class Files(Protocol):
    """What a store asks of the place that it is in. What cannot be done now raises StoreUnavailable."""

    url: str
    local: Path

    def read(self, path: str) -> bytes | None:
        """A file's bytes; None if it is not there."""
        ...

    def create(self, path: str, data: bytes) -> bool:
        """Make a file, whole or not at all; False if it is there with other bytes. Exclusive: one of many wins."""
        ...

    def replace(self, path: str, data: bytes) -> None:
        """Write a file; readers see the old one or the new one."""
        ...

    def append(self, path: str, lines: bytes) -> None:
        """Add whole lines to a list of lines; two who add at once both do."""
        ...

    def lines(self, path: str) -> bytes:
        """All that was appended, in order; empty if nothing was."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file, or all below a folder. That nothing is there is no error."""
        ...

    def names(self, path: str) -> list[str]:
        """Names of the folders directly below a folder, sorted."""
        ...

    def tree(self, path: str) -> dict[str, Info]:
        """Every file below a folder, by its path from the folder, sorted."""
        ...

    def put(self, path: str) -> None:
        """Bring a file from its local place into the store."""
        ...

    def fetch(self, path: str, size: int, sha256: str) -> None:
        """Bring a file to its local place. Raises StoreUnavailable if its bytes are not these."""
        ...

    def sha256(self, path: str) -> str:
        """sha256 of a file's bytes, read now."""
        ...

    def lock(self, path: str, holder: str) -> AbstractContextManager[None]:
        """Hold a lock. Raises LockHeld if someone else does."""
        ...

    def locked(self, path: str) -> str | None:
        """Who holds a lock; None if nobody does."""
        ...


def open_files(root: str | Path) -> Files:
    """The files under a directory or a URL. Touches nothing. Raises UserError for a URL that cannot hold a store."""
    text = str(root)
    if "://" not in text:
        return LocalFiles(Path(root))
    from s1sweep.store.objects import ObjectFiles

    return ObjectFiles(text)


class LocalFiles:
    """A directory, perhaps on a shared filesystem (with hard links and flock: NFS 4, Lustre, CephFS have both)."""

    def __init__(self, root: Path) -> None:
        self.local = root.expanduser().absolute()
        self.url = str(self.local)

    def read(self, path: str) -> bytes | None:
        try:
            return (self.local / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def create(self, path: str, data: bytes) -> bool:
        # A link is exclusive and never half-written.
        with self._aside(path, data) as aside:
            try:
                os.link(aside, self.local / path)
            except FileExistsError:
                return self.read(path) == data
        return True

    def replace(self, path: str, data: bytes) -> None:
        with self._aside(path, data) as aside:
            os.replace(aside, self.local / path)

    def append(self, path: str, lines: bytes) -> None:
        place = self.local / path
        with self._writing(path), place.open("ab") as f:
            torn = f.tell() > 0 and not place.read_bytes().endswith(b"\n")
            f.write((b"\n" if torn else b"") + lines)

    def lines(self, path: str) -> bytes:
        return self.read(path) or b""

    def remove(self, path: str) -> None:
        place = self.local / path
        with self._writing(path), suppress(FileNotFoundError):
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place, ignore_errors=True)
            else:
                place.unlink()

    def names(self, path: str) -> list[str]:
        try:
            return sorted(p.name for p in (self.local / path).iterdir() if p.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def tree(self, path: str) -> dict[str, Info]:
        found = {}
        for folder, _, names in os.walk(self.local / path):
            for name in names:
                place = Path(folder, name)
                with suppress(FileNotFoundError):  # gone while we looked
                    stat = place.stat()
                    found[place.relative_to(self.local / path).as_posix()] = Info(stat.st_size, stat.st_mtime)
        return dict(sorted(found.items()))

    def put(self, path: str) -> None:
        pass  # it is there

    def fetch(self, path: str, size: int, sha256: str) -> None:
        pass  # it is there, or its reader says that it is not

    def sha256(self, path: str) -> str:
        with (self.local / path).open("rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()

    @contextmanager
    def lock(self, path: str, holder: str) -> Iterator[None]:
        """The kernel drops the lock when its holder dies, however it dies."""
        place = self.local / path
        with self._writing(path):
            handle = place.open("a+")
        with handle:
            for wait in (0.02, 0.1, None):  # who looks whether it is locked holds it for a moment
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if wait is None:
                        handle.seek(0)
                        raise LockHeld(handle.read().strip() or "unknown") from error
                    time.sleep(wait)
            handle.truncate(0)
            handle.write(holder)
            handle.flush()
            yield

    def locked(self, path: str) -> str | None:
        try:
            with (self.local / path).open() as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return None
        except OSError:
            return (self.read(path) or b"").decode() or "unknown"
        return None

    @contextmanager
    def _aside(self, path: str, data: bytes) -> Iterator[Path]:
        """The bytes on disk under another name, which is gone afterwards."""
        place = self.local / path
        aside = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        with self._writing(path):
            try:
                with aside.open("wb") as f:
                    f.write(data)
                    f.flush()
                    os.fsync(f.fileno())
                yield aside
            finally:
                aside.unlink(missing_ok=True)

    @contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            (self.local / path).parent.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            raise cannot_write(self.url, path, error) from error


def cannot_write(url: str, path: str, error: Exception) -> StoreUnavailable:
    """The error for a file that could not be written, with what to do."""
    number = getattr(error, "errno", None)
    todo = "Give a directory you can write to."
    if number in FULL:
        todo = "Free some space (`s1sweep store gc` shows what can go), and give the same command again."
    elif "://" in url:
        todo = "When the store answers again, give the same command again."
    reason = (getattr(error, "strerror", None) if number else None) or f"{type(error).__name__}: {error}"
    return StoreUnavailable(
        f"placement.root={url!r} cannot be written ({path}: {reason}). Nothing is half-written. {todo}"
    )
