"""Tidy results as one pandas frame, and as parquet. `results.load` is its door; docs/results.md describes each column.

Needs pandas and pyarrow. Knows cell results and grades; computes no statistic.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from s1sweep.errors import UserError
from s1sweep.planning.axes import AXIS_GROUPS
from s1sweep.store import Sweep

from . import grades
from .labels import arm, arm_label, axis_value
from .results import CellResult, each

TEXT, WHOLE, REAL = "category", "Int64", "float64"
IDS = dict.fromkeys(("row", "sweep", "cell", "series", "missing", "arm"), TEXT)
# Groups by the choice made, and the fields most often swept: frames of different sweeps line up on them.
AXES = {
    **dict.fromkeys(AXIS_GROUPS, TEXT),
    **dict.fromkeys(("data.rule", "extrapolation.string", "method.kind", "parallel.rule", "model.name"), TEXT),
    **dict.fromkeys(("train.kind", "task.name", "task.grader"), TEXT),
    **dict.fromkeys(("data.size", "data.seed", "train.seed", "task.limit", "extrapolation.num_ignore"), WHOLE),
    **dict.fromkeys(("method.max_thinking_tokens", "method.think_for", "parallel.n", "sampling.samples"), WHOLE),
    **dict.fromkeys(("sampling.seed", "sampling.replicate"), WHOLE),
    "sampling.temperature": REAL,
}
MADE = {
    **{f"stage.{role}": TEXT for role in ("select", "train", "decode", "grade")},
    **{f"version.{part}": WHOLE for part in ("grade", "grader")},
}
NUMBERS = {
    **dict.fromkeys(("n", "readouts"), WHOLE),
    **dict.fromkeys(("accuracy", "ci_low", "ci_high"), REAL),
    "interval": TEXT,
    **dict.fromkeys(("mean_thinking_tokens", "mean_answer_tokens", "mean_total_tokens"), REAL),
    **dict.fromkeys(("forced_share", "loop_share"), REAL),
}
READOUT = {
    **{"question_id": TEXT, "sample": WHOLE, "verdict": TEXT, "credit": REAL, "extracted": TEXT, "gold": TEXT},
    **{"ended": TEXT},
    **{name: WHOLE for name in grades.INTEGERS if name not in ("sample", "readout")},
    "score": REAL,
}


def frame(sweep: Sweep, rows: str | None = None, verify: bool = False, mixed: bool = False) -> pd.DataFrame:
    """One sweep's rows; see `results.load`."""
    cells, tables = [], []
    for cell in each(sweep, verify):
        cells.append(cell)
        if rows != "cells" and cell.grades is not None:
            assert cell.readouts is not None
            tables.append(grades.read(cell.grades, cell.readouts))
        else:
            tables.append(None)
    _whole(sweep, cells)
    if not mixed:
        _one_version(sweep, cells)
    about, numbers = _cells(sweep.name, cells)
    # `owner`: a row's cell. `number`: the same where the row is the cell's. `place`: its readout. -1 is none.
    lengths = np.array([0 if table is None else len(table) for table in tables], dtype=np.int64)
    missing = np.array([cell.missing is not None for cell in cells])
    own = missing if rows == "readouts" else np.ones(len(cells), dtype=bool)
    owner = np.repeat(np.arange(len(cells)), lengths + own)
    first = np.zeros(len(owner), dtype=bool)
    first[(np.cumsum(lengths + own) - lengths - own)[own]] = True
    place = np.where(first, -1, np.cumsum(~first) - 1)
    kinds = pd.Categorical.from_codes(np.where(first, 0, 1), ["cell", "readout"]).remove_unused_categories()
    columns: dict[str, Any] = {"row": kinds} | {name: _take(values, owner) for name, values in about.items()}
    if rows != "readouts":
        columns |= {name: _take(values, np.where(first, owner, -1)) for name, values in numbers.items()}
    if rows != "cells":
        columns |= {name: _take(values, place) for name, values in _readouts(tables).items()}
    return pd.DataFrame(columns, copy=False)


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Frames of several sweeps as one: columns are the union, empty where a sweep has no such axis."""
    if len(frames) == 1:
        return frames[0]
    names = _ordered(dict.fromkeys(name for one in frames for name in one.columns))
    columns = {}
    for name in names:
        kinds = {str(one[name].dtype) for one in frames if name in one}
        kind = kinds.pop() if len(kinds) == 1 else REAL if kinds <= {WHOLE, REAL} else TEXT
        parts = [_typed(one[name], kind) if name in one else _typed([None] * len(one), kind) for one in frames]
        if kind == TEXT:
            texts = sorted({text for part in parts for text in part.categories})
            ranks = [np.append(pd.Index(texts).get_indexer(part.categories), -1) for part in parts]
            columns[name] = _category(np.concatenate([r[p.codes] for r, p in zip(ranks, parts, strict=True)]), texts)
        else:
            columns[name] = pd.concat([pd.Series(part) for part in parts], ignore_index=True).array
    return pd.DataFrame(columns, copy=False)


def only(found: pd.DataFrame, rows: str | None) -> pd.DataFrame:
    """Of a frame with both kinds of rows those that `results.load(..., rows)` gives."""
    if rows is None:
        return found
    other = READOUT if rows == "cells" else NUMBERS
    kept = found["row"] == "cell" if rows == "cells" else (found["row"] == "readout") | found["missing"].notna()
    found = found.loc[kept, [name for name in found.columns if name not in other]].reset_index(drop=True)
    return found.assign(row=found["row"].cat.remove_unused_categories())


def write(found: pd.DataFrame, path: Path) -> Path:
    """Write parquet: equal frames give equal bytes. Raises UserError if the file cannot be written."""
    text = pd.CategoricalDtype(pd.Index([], dtype="str"))  # a column without values is still one of texts
    empty = {name: text for name, kind in found.dtypes.items() if kind == TEXT and not len(kind.categories)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.Table.from_pandas(found.astype(empty), preserve_index=False), path, compression="zstd")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}). Give another file.") from error
    return path


def read(path: Path) -> pd.DataFrame:
    """What `write` wrote. Raises UserError if it is no such file."""
    try:
        return parquet.read_table(path).to_pandas()
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path} is no parquet file of results ({error}). Publish or write it again.") from error


# --- columns


def _cells(sweep: str, cells: Sequence[CellResult]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns that say which cell it is, which readouts share, and the cell's numbers; one value per cell."""
    about: dict[str, list[Any]] = {
        "sweep": [sweep] * len(cells),
        "cell": [cell.key for cell in cells],
        "series": [cell.series for cell in cells],
        "missing": [cell.missing for cell in cells],
        "arm": [arm_label(arm(cell)) for cell in cells],
    }
    for name in _ordered({*AXES, *(axis for cell in cells for axis in cell.axes)}):
        values = [axis_value(cell, name) for cell in cells]
        if AXES.get(name) == WHOLE:  # an automatic cap is no number
            values = [value if isinstance(value, int) else None for value in values]
        about[name] = values
    about |= {name: [cell.stages.get(name.partition(".")[2]) for cell in cells] for name in MADE if name[:5] == "stage"}
    about |= {name: [cell.versions.get(name[8:]) for cell in cells] for name in MADE if name[:7] == "version"}
    known = IDS | AXES | MADE
    return (
        {name: _typed(values, known.get(name) or _kind(values)) for name, values in about.items()},
        {name: _typed([getattr(cell, name) for cell in cells], kind) for name, kind in NUMBERS.items()},
    )


def _readouts(tables: Iterable[pa.Table | None]) -> dict[str, Any]:
    """Columns of all tables, one after the other."""
    some = [table for table in tables if table is not None]
    found = pa.concat_tables(some) if some else None
    columns: dict[str, Any] = {}
    for name, kind in READOUT.items():
        if found is None:
            columns[name] = _typed([], kind)
        elif kind == TEXT:
            encoded = found[name].combine_chunks().dictionary_encode()
            encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
            texts = np.array(encoded.dictionary.to_pylist(), dtype=object)
            order = np.argsort(texts) if len(texts) else np.empty(0, dtype=np.int64)
            rank = np.empty(len(order) + 1, dtype=np.int64)
            rank[order], rank[-1] = np.arange(len(order)), -1
            codes = encoded.indices.fill_null(len(order)).to_numpy(zero_copy_only=False)
            columns[name] = _category(rank[codes], texts[order])
        elif kind == WHOLE:
            values = found[name].combine_chunks()
            numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
            absent = values.is_null().to_numpy(zero_copy_only=False)
            columns[name] = pd.arrays.IntegerArray(np.array(numbers), np.array(absent))
        else:
            columns[name] = found[name].to_numpy()
    return columns


def _typed(values: Any, kind: str) -> Any:
    """An array of a column's type; in a text column what is no text is JSON. Categories are the sorted texts there."""
    if kind == REAL:
        return pd.Series(values, dtype="Float64").to_numpy(float, na_value=np.nan)
    if kind == WHOLE:
        return pd.array(values, dtype=kind)
    if isinstance(values, pd.Series) and values.dtype == TEXT:
        return values.array
    texts = [None if value is None or value is pd.NA or value != value else _text(value) for value in values]
    places = {text: i for i, text in enumerate(sorted({text for text in texts if text is not None}))}
    codes = [-1 if text is None else places[text] for text in texts]
    return _category(codes, list(places))


def _category(codes: Any, texts: Any) -> pd.Categorical:
    """Of sorted texts; without any their type is object, as parquet reads it back."""
    return pd.Categorical.from_codes(codes, pd.Index(texts, dtype="str" if len(texts) else object))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _kind(values: Iterable[Any]) -> str:
    """The type of a column that is only in this sweep."""
    found = {type(value) for value in values if value is not None}
    return WHOLE if found == {int} else REAL if found and found <= {int, float} else TEXT


def _take(values: Any, places: np.ndarray) -> Any:
    return pd.api.extensions.take(values, places, allow_fill=True)


def _ordered(names: Iterable[str]) -> list[str]:
    """Columns as documented; axes of this sweep alone come after the others, by name."""
    known = [*IDS, *AXES, "", *MADE, *NUMBERS, *READOUT]
    places = {name: i for i, name in enumerate(known)}
    return sorted(names, key=lambda name: (places.get(name, places[""]), name))


# --- refusals


def _whole(sweep: Sweep, cells: Sequence[CellResult]) -> None:
    path = sweep.store.where("sweeps", sweep.name, "cells.jsonl")
    if not cells:
        raise UserError(f"{path} names no cell, so sweep {sweep.name!r} has no results. Give `s1sweep run` again.")
    try:
        json.loads(sweep.lines().rstrip("\n").rpartition("\n")[2])
    except ValueError:
        raise UserError(
            f"{path} is torn: its last line is no JSON ({len(cells)} whole cells before it). A run was killed as it "
            "added cells; give its command again, or copy the store again, whole."
        ) from None


def _one_version(sweep: Sweep, cells: Sequence[CellResult]) -> None:
    """Raises UserError if numbers of one sweep were graded by several versions of the same component."""
    found: dict[str, dict[int, list[CellResult]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        for part, version in cell.versions.items():
            name = f"grader {cell.spec['task'].get('grader')}" if part == "grader" else part
            found[name][version].append(cell)
    for name, versions in found.items():
        if len(versions) > 1:
            said = "; ".join(
                f"version {version}: {len(of)} cells, as {of[0].grades}" for version, of in sorted(versions.items())
            )
            raise UserError(
                f"Sweep {sweep.name!r} was graded by {len(versions)} versions of {name} ({said}), so its numbers are "
                "not comparable. Give the grid another name= to have one version of each cell, or load it with "
                "mixed=True and keep to one value of version.grade and version.grader."
            )
