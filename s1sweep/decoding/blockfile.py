"""The bytes of a segment file: one checked record a block, so that a reader can tell sound bytes from any others.

A record is found by its first bytes and believed for its checksum, so what is torn, overwritten or missing costs the
records it touches and no more. Knows no stream, no directory and no order.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from s1sweep.decoding.engines import Completion

FORMAT = 2  # raise it when the bytes below change: old files then lie where nobody looks
_MAGIC = b"\xf5\xa7"
# magic, crc32 of all that follows, stream key, start, place, how the block ends, bytes of its ids
_HEAD = struct.Struct("<2sI16sI8sBH")
_CHECKED = 6  # where the checksummed part begins
_MOST = 0xFFFF  # bytes of ids in a record
MOST = _HEAD.size + _MOST  # bytes of a record
_ENDS: tuple[Literal["length", "stop", "context"], ...] = ("length", "stop", "context")


class StoredBlock(NamedTuple):
    """One block of a stream: 16 bytes of the stream's key, how many tokens came before, and 8 bytes of their digest."""

    key: bytes
    start: int
    place: bytes
    block: Completion


def write(record: StoredBlock) -> bytes | None:
    """The bytes of a record; None if the block is too long for one."""
    block = record.block
    # The stop that ended a block is written as its last id.
    ids = _pack((*block.token_ids, block.stop_id or 0) if block.finish == "stop" else block.token_ids)
    if len(ids) > _MOST:
        return None
    ends = _ENDS.index(block.finish)
    rest = _HEAD.pack(_MAGIC, 0, record.key, record.start, record.place, ends, len(ids))[_CHECKED:] + ids
    return _MAGIC + zlib.crc32(rest).to_bytes(4, "little") + rest


def read(data: bytes) -> StoredBlock | None:
    """The record that `data` begins with, if it is whole and sound."""
    size = _sound(data, 0)
    if not size:
        return None
    _, _, key, start, place, ends, _ = _HEAD.unpack_from(data)
    ids, finish = _unpack(data[_HEAD.size : size]), _ENDS[ends]
    block = Completion(ids[:-1], finish, ids[-1]) if finish == "stop" else Completion(ids, finish)
    return StoredBlock(key, start, place, block)


def scan(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """Offset, key and start of each sound record of a file; ids are not decoded."""
    if not path.stat().st_size:
        return  # nothing to map
    with path.open("rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(_MAGIC)
        while at >= 0:
            size = _sound(data, at)
            if size:
                _, _, key, start, *_ = _HEAD.unpack_from(data, at)
                yield at, key, start
            at = data.find(_MAGIC, at + (size or 1))


def _sound(data: bytes | mmap.mmap, at: int) -> int:
    """Bytes of the whole and sound record at an offset, or 0."""
    if len(data) - at < _HEAD.size:
        return 0
    magic, checksum, *_, length = _HEAD.unpack_from(data, at)
    size = _HEAD.size + length
    rest = data[at + _CHECKED : at + size]
    return size if magic == _MAGIC and len(rest) == size - _CHECKED and zlib.crc32(rest) == checksum else 0


def _pack(ids: Iterable[int]) -> bytes:
    """Seven bits a byte, lowest first, the high bit on all but a number's last: about 2 bytes a token of a big model.
    (zlib on top gains nothing on blocks this short.)"""
    out = bytearray()
    for i in ids:
        while i > 0x7F:
            out.append(i & 0x7F | 0x80)
            i >>= 7
        out.append(i)
    return bytes(out)


def _unpack(data: bytes) -> tuple[int, ...]:
    ids, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            ids.append(value)
            value = shift = 0
    return tuple(ids)
