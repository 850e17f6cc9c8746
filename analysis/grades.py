"""The file of grades behind a cell: checked against its record, then read by columns.

Knows one file and its record; not cells, and not what is made of the numbers. pyarrow is imported late, and done
without where only counts are asked.
"""

from __future__ import annotations

import json
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from s1sweep.errors import UserError
from s1sweep.identity import file_sha256
from s1sweep.sources.raw import read_jsonl
from s1sweep.store import Record, Store

GRADES = "grades.jsonl"
INTEGERS = (
    *("sample", "readout", "ignored", "thinking_tokens", "injected_tokens", "answer_tokens", "probe_tokens"),
    *("verifier_tokens", "discarded_tokens", "scored_tokens", "prefilled_tokens", "total_tokens", "loop_tokens"),
    "backtracks",
)
FLOATS = ("credit", "score")
TEXTS = ("question_id", "verdict", "extracted", "gold", "ended")
REQUIRED = ("question_id", "sample", "verdict", "credit", "thinking_tokens", "total_tokens")


def located(store: Store, stage: str, record: Record, verify: bool = False) -> Path:
    """Where the grades of a record are. Raises UserError if they are gone, or not as long as the record says.

    With `verify` their sha256 is compared too, which reads them.
    """
    folder = store.stage_dir(stage)
    path = folder / record.attempt / GRADES
    said = record.outputs.get(GRADES)
    if said is None:
        raise _broken(folder / "record.json", f"names no {GRADES} among its outputs", folder)
    store.files.fetch(path.relative_to(store.root).as_posix(), said.bytes, said.sha256)
    try:
        size = path.stat().st_size
    except OSError:
        raise _broken(path, f"is not there, though its record is (expected {said.bytes:,} bytes)", folder) from None
    if size != said.bytes:
        raise _broken(path, f"has {size:,} bytes, and its record says {said.bytes:,}: cut short or edited", folder)
    if verify and (found := file_sha256(path)) != said.sha256:
        raise _broken(path, f"has sha256 {found[:12]}…, and its record says {said.sha256[:12]}…: edited", folder)
    return path


def read(path: Path, answers: int) -> Any:
    """A pyarrow Table of the columns above, in the order of the file; absent fields are null.

    Raises UserError if a line is no JSON object of these types, or if there are not `answers` of them.
    """
    table = _read(path)
    if len(table) != answers:
        raise _broken(path, f"has {len(table):,} rows, and its record counts {answers:,} answers", path.parent.parent)
    return table


@lru_cache(maxsize=4)  # whoever asks for a cell's numbers asks for its rows next
def _read(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import json as reader

    columns = (
        [(n, pa.string()) for n in TEXTS] + [(n, pa.int64()) for n in INTEGERS] + [(n, pa.float64()) for n in FLOATS]
    )
    schema = pa.schema(columns)
    size = path.stat().st_size
    if not size:
        return schema.empty_table()
    try:
        table = reader.read_json(
            path,
            reader.ReadOptions(block_size=min(size + 1, 1 << 30)),  # one block: no line is torn between two
            reader.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        ).select(schema.names)
    except pa.ArrowInvalid as error:
        raise _broken(path, _where(path, str(error).splitlines()[0]), path.parent.parent) from error
    for name in REQUIRED:
        if nulls := table[name].null_count:
            why = f"has {nulls:,} rows without {name}: it is broken, or of an older s1sweep"
            raise _broken(path, why, path.parent.parent)
    return table.combine_chunks()


def _where(path: Path, reason: str) -> str:
    """Which line is no JSON object, or what else the reader said."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                torn = not isinstance(json.loads(line), dict)
            except ValueError:
                torn = True
            if torn:
                return f"is torn: line {number:,} is no JSON object"
    return f"has fields of other types than expected ({reason})"


@cache
def tallies(path: Path, answers: int) -> dict[str, tuple[float, int]]:
    """Question id -> (credit, answers), questions in their order. Published files never change: one reading serves all.

    Raises UserError as `read` does.
    """
    try:
        table = read(path, answers)
    except ImportError:
        return _counted(path, answers)
    sums = table.group_by("question_id", use_threads=False).aggregate([("credit", "sum"), ("credit", "count")])
    columns = (sums[name].to_pylist() for name in ("question_id", "credit_sum", "credit_count"))
    return {question: (credit, count) for question, credit, count in zip(*columns, strict=True)}


def _counted(path: Path, answers: int) -> dict[str, tuple[float, int]]:
    """The same where pyarrow is not installed."""
    found: dict[str, tuple[float, int]] = {}
    try:
        rows = read_jsonl(path)
    except ValueError:
        raise _broken(path, _where(path, ""), path.parent.parent) from None
    if len(rows) != answers:
        raise _broken(path, f"has {len(rows):,} rows, and its record counts {answers:,} answers", path.parent.parent)
    for grade in rows:
        credit, count = found.get(grade["question_id"], (0.0, 0))
        found[grade["question_id"]] = (credit + grade["credit"], count + 1)
    return found


def _broken(path: Path, found: str, folder: Path) -> UserError:
    return UserError(
        f"{path} {found}. Copy the store again, whole; or remove {folder} and give the sweep's command again, which "
        "makes this stage anew."
    )
