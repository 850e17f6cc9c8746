"""What a sweep's cells are and what made them: axes, settings they share, versions, engines, digests of what was read.

Knows specs and records; judges nothing and computes no result.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s1sweep.identity import kind_of
from s1sweep.store import Record, Store

from .results import CellResult, record_of

Records = Mapping[str, Record | None]
SHORT = 12  # characters of a commit or digest that a reader compares


@dataclass(frozen=True)
class SweepProvenance:
    """`versions`, `engines`: name -> values that occur; more than one means that results were made in unlike ways.

    `stages`: kind -> (done, planned). `read`: (what, sha256) of contents that were hashed. `shared`: settings that all
    cells have; `last`: end of the last stage, in seconds since the epoch.
    """

    versions: dict[str, list[str]]
    engines: dict[str, list[str]]
    hosts: list[str]
    stages: dict[str, tuple[int, int]]
    read: list[tuple[str, str]]
    shared: dict[str, str]
    last: float | None

    @property
    def mixed(self) -> list[str]:
        """Names of versions and engine properties that differ between records."""
        return [name for name, values in {**self.versions, **self.engines}.items() if len(values) > 1]


def records(store: Store, cells: Sequence[CellResult]) -> Records:
    """The record of every stage that the cells need, None where there is none."""
    return {stage: record_of(store, stage) for cell in cells for stage in cell.stages.values()}


def provenance(cells: Sequence[CellResult], found: Records) -> SweepProvenance:
    done = [record for record in found.values() if record]
    made = [record.provenance for record in done]
    versions: dict[str, Counter[str]] = {}
    engines: dict[str, Counter[str]] = {}
    for one in made:
        for name, version in {**one.code, **one.environment}.items():
            if name not in ("executable", "platform"):
                versions.setdefault(name, Counter())[version[:SHORT] if name == "commit" else version] += 1
        for name, value in (one.cost.get("engine") or {}).items():
            engines.setdefault(name, Counter())[str(value)] += 1
    return SweepProvenance(
        {name: sorted(values) for name, values in versions.items()},
        {name: sorted(values) for name, values in engines.items()},
        sorted({one.host for one in made}),
        _stages(found),
        sorted({pair for record in done for pair in _read(record)}),
        _shared(cells),
        max((one.started + one.seconds for one in made), default=None),
    )


def _stages(found: Records) -> dict[str, tuple[int, int]]:
    planned = Counter(map(kind_of, found))
    done = Counter(record.kind for record in found.values() if record)
    return {kind: (done[kind], n) for kind, n in planned.items()}


def _read(record: Record) -> Iterator[tuple[str, str]]:
    for what, sha256 in (record.hashed.get("content") or {}).items():
        about = record.hashed["spec"].get(what)
        name = about.get("name") if isinstance(about, dict) else None
        yield (f"{what} {name}" if name else what), str(sha256)


def _shared(cells: Sequence[CellResult]) -> dict[str, str]:
    """Dotted path -> value, of the fields that are equal in all cells."""
    kept: dict[str, Any] | None = None
    for cell in cells:
        leaves = dict(_leaves(cell.spec))
        kept = leaves if kept is None else {k: v for k, v in kept.items() if k in leaves and leaves[k] == v}
    return {path: value if isinstance(value, str) else json.dumps(value) for path, value in (kept or {}).items()}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    else:
        yield path, value
