"""Segments: decoded blocks kept on disk, so that a later session decodes only what is new. A cache; it may be deleted.

    <traces>/<digest of what tokens depend on>/about.json         what that is: weights, model, engine, versions
    <traces>/<digest of what tokens depend on>/<time>-<hex>.seg   the blocks of one session, in the order they finished

A session appends to a file of its own, one write a block, so sessions need no lock and a killed one tears at most its
last record. A record says which stream it belongs to and, by a digest, which tokens it comes after: the first one
stored at a place is the truth, and one that comes after other tokens is ignored. Memory holds 16 bytes a stored block;
ids are read when a trace gets there.
Knows streams as keys and tokens as numbers; nothing of engines, methods or the store's records.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import struct
import time
from array import array
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

from s1sweep.decoding import blockfile
from s1sweep.decoding.blockfile import StoredBlock
from s1sweep.decoding.engines import Completion
from s1sweep.identity import digest

_FILE = 40  # a position is a file's number above this bit, and an offset below


class Segments:
    """The blocks stored in one directory when it was opened, and the segment this session appends to.

    `about` is all that tokens depend on beside their stream.
    """

    def __init__(self, traces: Path, about: Mapping[str, Any]) -> None:
        self._about = {"format": blockfile.FORMAT, **about}
        self.dir = traces / digest(self._about)[:24]
        self._files = sorted(self.dir.glob("*.seg"))
        self._index: dict[bytes, array[int]] = {}  # stream key -> start, position, start, position, ...
        self._own: FileIO | None = None
        self._failed = False
        for number, path in enumerate(self._files):
            with suppress(OSError):  # gone or unreadable: nothing is stored there
                for offset, key, start in blockfile.scan(path):
                    self._index.setdefault(key, array("Q")).extend((start, number << _FILE | offset))

    def tape(self, key: bytes) -> Tape:
        """The blocks of one stream, from its start."""
        return Tape(self, key[:16])

    def find(self, key: bytes, start: int, place: bytes) -> Completion | None:
        """The first stored block of a stream at a place."""
        pairs = self._index.get(key, ())
        for i in range(0, len(pairs), 2):
            if pairs[i] == start:
                record = self._read(pairs[i + 1])
                if record is not None and record[:3] == (key, start, place):
                    return record.block
        return None

    def append(self, record: StoredBlock) -> None:
        """Keep a block. A disk that takes no more ends the keeping, not the session."""
        data = blockfile.write(record)
        if data is None or self._failed:
            return
        try:
            if self._own is None:
                self.dir.mkdir(parents=True, exist_ok=True)
                (self.dir / "about.json").write_text(json.dumps(self._about, indent=1, sort_keys=True) + "\n")
                self._own = FileIO(self.dir / f"{time.time_ns():020d}-{secrets.token_hex(4)}.seg", "x")
            self._own.write(data)
        except OSError as error:
            self._failed = True
            logging.getLogger(__name__).warning("traces are no longer kept under %s: %s", self.dir, error)

    def close(self) -> None:
        if self._own is not None:
            self._own.close()

    def _read(self, position: int) -> StoredBlock | None:
        try:
            with self._files[position >> _FILE].open("rb") as f:
                f.seek(position & (1 << _FILE) - 1)
                return blockfile.read(f.read(blockfile.MOST))
        except OSError:
            return None


class Tape:
    """One stream's way through its stored blocks; what is decoded beyond them is added at the end."""

    __slots__ = ("_key", "_place", "_segments", "_start")

    def __init__(self, segments: Segments, key: bytes) -> None:
        self._segments = segments
        self._key = key
        self._start = 0
        self._place = hashlib.sha256(key)

    def next(self) -> Completion | None:
        """The block stored at this place, if one is; then the place is after it."""
        block = self._segments.find(self._key, self._start, self._place.digest()[:8])
        if block is not None:
            self._advance(block)
        return block

    def add(self, block: Completion) -> None:
        """Keep a block decoded at this place; then the place is after it."""
        self._segments.append(StoredBlock(self._key, self._start, self._place.digest()[:8], block))
        self._advance(block)

    def _advance(self, block: Completion) -> None:
        self._start += len(block.token_ids)
        self._place.update(struct.pack(f"<{len(block.token_ids)}I", *block.token_ids))
