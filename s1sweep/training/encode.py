"""Rows of a subset to training rows on disk, tokenised once before the ranks start; memory does not grow with the rows.

What is written is an Arrow stream of int32 ids that ranks map into memory. Knows the chat format, not the trainer.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s1sweep.sources import model_path
from s1sweep.sources.raw import read_lines
from s1sweep.spec import TrainStage
from s1sweep.stages.rows import Row
from s1sweep.training.format import IGNORE, example

BATCH = 64  # rows held at once


@dataclass(frozen=True)
class Encoded:
    """What was written: `rows` (blocks, where packed) with `tokens` in all, `supervised` of them with loss.

    Of `examples` given, `truncated` lost `lost_labels` supervised tokens to the block size, and `dropped` lost all and
    are left out.
    """

    path: str
    rows: int
    examples: int
    tokens: int
    supervised: int
    truncated: int
    lost_labels: int
    dropped: int

    def warning(self, block_size: int) -> str | None:
        """What truncation costs, in numbers; None if nothing."""
        if not self.lost_labels:
            return None
        share = self.lost_labels / (self.lost_labels + self.supervised)
        lost = f" {self.dropped} rows keep no label and are left out." if self.dropped else ""
        return (
            f"train.block_size={block_size} cuts {self.truncated} of {self.examples} rows "
            f"({100 * self.truncated / self.examples:.1f} %) and {self.lost_labels:,} supervised tokens "
            f"({100 * share:.1f} %), the ends of traces and their answers.{lost}"
        )


def encode(spec: TrainStage, rows: Path, out: Path) -> Encoded:
    """Write the training rows of `rows` under `out`. Raises ValueError if every label of every row is cut away."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        model_path(spec.model), revision=spec.model.revision, trust_remote_code=spec.model.trust_remote_code
    )
    count = dict.fromkeys(("rows", "examples", "tokens", "supervised", "truncated", "lost_labels", "dropped"), 0)

    def written() -> Iterator[dict[str, list[int]]]:
        for _, line in read_lines(rows, "rows"):
            made = example(Row.model_validate_json(line), spec.model, tokenizer, spec.train.block_size, spec.format)
            labels = sum(label != IGNORE for label in made.labels)
            count["examples"] += 1
            count["truncated"] += made.lost > 0
            count["lost_labels"] += made.lost
            count["dropped"] += labels == 0
            if labels:
                count["rows"] += 1
                count["tokens"] += len(made.input_ids)
                count["supervised"] += labels
                yield {"input_ids": made.input_ids, "labels": made.labels}

    path = out / "rows.arrow"
    write(path, written(), ("input_ids", "labels"))
    if not count["rows"]:
        raise ValueError(f"train.block_size={spec.train.block_size} cuts away every label of every row")
    if spec.train.packing:
        packed = out / "blocks.arrow"
        count["rows"] = _write_packed(path, packed, spec.train.block_size)
        path.unlink()
        path = packed
    return Encoded(str(path), **count)


def write(path: Path, rows: Iterable[dict[str, list[int]]], columns: Sequence[str]) -> None:
    """An Arrow stream of int32 lists."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.list_(pa.int32())) for name in columns])
    with pa.OSFile(str(path), "wb") as f, pa.ipc.new_stream(f, schema) as stream:
        batch: list[dict[str, list[int]]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == BATCH:
                stream.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
                batch = []
        if batch:
            stream.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))


def read(path: str | Path) -> Any:
    """The rows as a `datasets.Dataset` over the mapped file."""
    from datasets import Dataset

    return Dataset.from_file(str(path))


def pack(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Whole examples to blocks of at most `size` tokens, longest first, each into the fullest block it fits (best fit
    decreasing, as in TRL); returns positions. No example may be longer than a block.
    """
    blocks: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, block), in order
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        at = bisect_left(room, (lengths[i], -1))
        if at == len(room):
            left, block = size, len(blocks)
            blocks.append([])
        else:
            left, block = room.pop(at)
        blocks[block].append(i)
        insort(room, (left - lengths[i], block))
    return blocks


def _write_packed(source: Path, path: Path, size: int) -> int:
    rows = read(source)
    lengths = [len(ids) for batch in rows.with_format("arrow").iter(BATCH) for ids in batch["input_ids"]]
    blocks = pack(lengths, size)

    def joined() -> Iterator[dict[str, list[int]]]:
        for block in blocks:
            parts = [rows[i] for i in block]
            yield {
                "input_ids": [token for part in parts for token in part["input_ids"]],
                "labels": [label for part in parts for label in part["labels"]],
                "seq_lengths": [lengths[i] for i in block],
            }

    write(path, joined(), ("input_ids", "labels", "seq_lengths"))
    return len(blocks)
