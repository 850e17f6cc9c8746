"""What is written of a readout, and the file of a stage's rows: they come in any order and are written in one.

Rows are on disk until the last one is there, so memory does not grow with their length. Knows no engine and no method.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from s1sweep.decoding.case import Format
from s1sweep.decoding.readout import Probe, Readout, loop

TOKENS = tuple(
    f"{name}_tokens" for name in ("thinking", "injected", "answer", "probe", "verifier", "discarded", "scored")
)


class Rows:
    """Takes the rows of each of `places` positions once; `finish` writes them, position after position, to `path`."""

    def __init__(self, path: Path, places: int) -> None:
        self._path = path
        self._part = path.with_suffix(".part")
        self._file = self._part.open("wb")
        self._starts = array("Q", bytes(8 * places))
        self._sizes = array("Q", bytes(8 * places))
        self._left = places
        self._end = 0

    def put(self, place: int, rows: Sequence[dict[str, Any]]) -> bool:
        """Keep the rows of a position; whether it was the last one missing."""
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        self._starts[place], self._sizes[place] = self._end, len(data)
        self._end += self._file.write(data)
        self._left -= 1
        return not self._left

    def finish(self) -> None:
        self._file.close()
        with self._part.open("rb") as part, self._path.open("wb") as out:
            for start, size in zip(self._starts, self._sizes, strict=True):
                part.seek(start)
                out.write(part.read(size))
        self._part.unlink()

    def close(self) -> None:
        """Let go of the file; one that is not finished stays in part."""
        with suppress(OSError):  # what could not be written is of no use to anyone
            self._file.close()


def row_of(question_id: str, sample: int, readout: Readout, chat: Format) -> dict[str, Any]:
    """One readout as its line in the file."""
    answer = chat.decode(readout.answer.token_ids)
    repeated = loop(readout.thinking_ids)
    return {
        "question_id": question_id,
        "sample": sample,
        "ended": readout.ended,
        "ignored": readout.ignored,
        "tries": readout.tries,
        "thinking_tokens": len(readout.thinking_ids) - readout.shared,
        "injected_tokens": sum(end - start for start, end in readout.injected),
        "answer_tokens": len(readout.answer.token_ids),
        "probe_tokens": sum(len(probe.answer.token_ids) for probe in readout.probes),
        "verifier_tokens": readout.verifier_tokens,
        "discarded_tokens": readout.discarded_tokens,
        "scored_tokens": readout.scored_tokens,
        "answer_finish": readout.answer.finish,
        "loop": {"period": repeated[0], "tokens": repeated[1]} if repeated else None,
        "score": readout.score,
        "steps": readout.steps,
        "probes": [_probe(probe, chat) for probe in readout.probes],
        "thinking_ids": readout.thinking_ids,
        "injected": readout.injected,
        "answer_ids": readout.answer.token_ids,
        "thinking": _marked(readout, chat),
        "answer": answer,
        "stated": readout.lead + answer,
    }


def _probe(probe: Probe, chat: Format) -> dict[str, Any]:
    stated = probe.lead + chat.decode(probe.answer.token_ids)
    return {"kind": probe.kind, "at": probe.at, "stated": stated, "tokens": len(probe.answer.token_ids)}


def _marked(readout: Readout, chat: Format) -> list[list[Any]]:
    """The thinking as [text, injected?] pieces, so that a reader of the file needs no tokenizer."""
    pieces, at = [], 0
    for start, end in readout.injected:
        pieces.append([chat.decode(readout.thinking_ids[at:start]), False])
        pieces.append([chat.decode(readout.thinking_ids[start:end]), True])
        at = end
    pieces.append([chat.decode(readout.thinking_ids[at:]), False])
    return [piece for piece in pieces if piece[0]]
