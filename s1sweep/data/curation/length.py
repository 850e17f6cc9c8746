"""Trace length by a named tokenizer. Drops nothing; sets `trace_tokens`, which rules by length and reports read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from s1sweep.sources import tokenizer_path
from s1sweep.spec.data import LengthSpec
from s1sweep.stages.rows import Row

VERSION = 1
PLANNED = False  # it would load transformers
CHUNK = 128  # rows encoded at once: long traces of more would not fit in memory


def judge(spec: LengthSpec, rows: Iterable[Row]) -> Iterator[tuple[Row, str | None]]:
    """Counts the tokens of `thinking`, without special ones."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_path(spec), revision=spec.revision)
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK)):
        encoded = tokenizer([row.thinking for row in chunk], add_special_tokens=False, return_attention_mask=False)
        for row, ids in zip(chunk, encoded["input_ids"], strict=True):
            yield row.model_copy(update={"trace_tokens": len(ids)}), None
