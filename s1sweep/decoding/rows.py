"""Rows of one stage, which come in any order and are written in one. On disk until then, so memory does not grow with
their length."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Rows:
    """Takes the rows of each of `places` positions once; `finish` writes them, position after position, to `path`."""

    def __init__(self, path: Path, places: int) -> None:
        self._path = path
        self._part = path.with_suffix(".part")
        self._file = self._part.open("wb")
        self._starts = array("Q", bytes(8 * places))
        self._sizes = array("Q", bytes(8 * places))
        self._left = places

    def put(self, place: int, rows: Sequence[dict[str, Any]]) -> bool:
        """Keep the rows of a position; whether it was the last one missing."""
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        self._starts[place], self._sizes[place] = self._file.tell(), len(data)
        self._file.write(data)
        self._left -= 1
        return not self._left

    def finish(self) -> None:
        self._file.close()
        with self._part.open("rb") as part, self._path.open("wb") as out:
            for start, size in zip(self._starts, self._sizes, strict=True):
                part.seek(start)
                out.write(part.read(size))
        self._part.unlink()
