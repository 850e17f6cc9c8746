"""What a store holds, whether it is whole, and what of it nobody needs: `s1sweep store ls`, `verify` and `gc`.

A stage is needed if a cell of a sweep names it, or a needed stage's record names it as an input. Knows records, folders
and leases; not what a stage does.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from s1sweep.identity import digest, kind_of
from s1sweep.store import CHECKPOINTS, SCHEMA, Record, SavedCell, Store, Sweep
from s1sweep.store.storage import Info

GRACE = 24.0  # hours that must have passed since anything in it changed before it is removed
RECORD, FAILED, WITHDRAWN = "record.json", "failed.json", "withdrawn.json"


@dataclass
class StageFiles:
    """One stage's files: bytes, and seconds since the epoch. `attempts` are those that count for nothing."""

    id: str
    record: Record | None = None
    broken: list[str] = field(default_factory=list)
    bytes: int = 0
    changed: float = 0.0
    attempts: dict[str, Info] = field(default_factory=dict)
    checkpoints: Info | None = None
    asides: dict[str, Info] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.record.kind if self.record else kind_of(self.id)


def survey(store: Store) -> dict[str, StageFiles]:
    """Every stage of the store by id, with what can be seen to be broken without reading outputs."""
    folders: dict[str, dict[str, Info]] = {}
    for path, info in store.files.tree("stages").items():
        stage, _, rest = path.partition("/")
        if rest:
            folders.setdefault(stage, {})[rest] = info
    return {stage: _files_of(store, stage, files) for stage, files in sorted(folders.items())}


def _files_of(store: Store, stage: str, files: Mapping[str, Info]) -> StageFiles:
    found = StageFiles(stage, bytes=sum(i.bytes for i in files.values()), changed=max(i.time for i in files.values()))
    if RECORD in files:
        found.record, found.broken = _checked(store, stage)
    attempt = found.record.attempt if found.record else None
    for name, said in found.record.outputs.items() if found.record else ():
        there = files.get(f"{attempt}/{name}")
        if there is None:
            found.broken.append(f"{name} is not there")
        elif there.bytes != said.bytes:
            found.broken.append(f"{name} has {there.bytes:,} bytes, its record says {said.bytes:,}")
    for path, info in files.items():
        top, _, rest = path.partition("/")
        if not rest and top.startswith("."):
            found.asides[top] = info
        elif rest and top == CHECKPOINTS:
            found.checkpoints = _sum(found.checkpoints, info)
        elif rest and top != attempt:
            found.attempts[top] = _sum(found.attempts.get(top), info)
    return found


def _checked(store: Store, stage: str) -> tuple[Record | None, list[str]]:
    """A record that can be read, or None, and what is wrong with it."""
    try:
        record = store.record(stage)
    except ValueError as error:
        return None, [f"record.json is torn or no record ({error})"]
    if record is None:  # withdrawn meanwhile
        return None, []
    if record.schema_version != SCHEMA:
        return None, [f"record.json has schema {record.schema_version}, this s1sweep reads {SCHEMA}"]
    wrong = []
    if record.id != stage:
        wrong.append(f"record.json is that of {record.id}")
    if not stage.endswith(digest(record.hashed)[:12]):
        wrong.append("its id is not the digest of what its record was made from")
    return record, wrong


def _sum(a: Info | None, b: Info) -> Info:
    return b if a is None else Info(a.bytes + b.bytes, max(a.time, b.time))


def needs(store: Store, stages: Mapping[str, StageFiles]) -> dict[str, set[str]]:
    """For each sweep, the stages that its cells need, directly or as inputs of what they need."""
    cells = {name: Sweep(store, name).cells() for name in store.files.names("sweeps")}
    return {
        name: closure((stage for cell in found for stage in cell.stages.values()), stages)
        for name, found in cells.items()
    }


def closure(ids: Iterable[str], stages: Mapping[str, StageFiles]) -> set[str]:
    """The stages and, by their records, all their inputs."""
    found, todo = set[str](), list(ids)
    while todo:
        stage = todo.pop()
        if stage not in found:
            found.add(stage)
            record = stages[stage].record if stage in stages else None
            todo += record.inputs.values() if record else []
    return found


# --- ls


def usage(store: Store) -> dict[str, Any]:
    """What the store holds and who needs it, in bytes."""
    stages = survey(store)
    by_sweep = needs(store, stages)
    needed = set[str]().union(*by_sweep.values())
    kinds: dict[str, dict[str, int]] = {}
    for one in stages.values():
        row = kinds.setdefault(one.kind, {"stages": 0, "done": 0, "bytes": 0})
        row["stages"] += 1
        row["done"] += one.record is not None
        row["bytes"] += one.bytes
    return {
        "store": store.url,
        "schedulers": store.schedulers(),
        "leases": {name: lease.owner for name, lease in sorted(store.leases("").live().items())},
        "kinds": kinds,
        "sweeps": [_sweep_row(name, ids, by_sweep, stages) for name, ids in by_sweep.items()],
        "unreferenced": [{"id": i, "bytes": one.bytes} for i, one in stages.items() if i not in needed],
        "broken": {i: one.broken for i, one in stages.items() if one.broken},
        "dead_attempts": {
            "count": sum(len(one.attempts) for one in stages.values()),
            "bytes": sum(info.bytes for one in stages.values() for info in one.attempts.values()),
        },
        "checkpoints": sum(one.checkpoints.bytes for one in stages.values() if one.checkpoints),
        "traces": sum(info.bytes for info in store.files.tree("traces").values()),
    }


def _sweep_row(
    name: str, ids: set[str], every: Mapping[str, set[str]], stages: Mapping[str, StageFiles]
) -> dict[str, Any]:
    others = set[str]().union(*(found for other, found in every.items() if other != name))
    there = ids & stages.keys()
    return {
        "name": name,
        "stages": len(there),
        "bytes": sum(stages[i].bytes for i in there),
        "own_bytes": sum(stages[i].bytes for i in there - others),
    }


# --- verify


def verify(store: Store) -> dict[str, Any]:
    """Reads everything: `broken` by stage or sweep, and `half_written` attempts, which no record names."""
    stages = survey(store)
    broken: dict[str, list[str]] = {}
    for stage, one in stages.items():
        wrong = list(one.broken)
        for name, said in one.record.outputs.items() if one.record else ():
            if any(text.startswith(f"{name} ") for text in wrong):
                continue
            assert one.record is not None
            sha256 = store.files.sha256(f"stages/{stage}/{one.record.attempt}/{name}")
            if sha256 != said.sha256:
                wrong.append(f"{name} has sha256 {sha256[:12]}…, its record says {said.sha256[:12]}…")
        if wrong:
            broken[stage] = wrong
    for name in store.files.names("sweeps"):
        if wrong := _torn(Sweep(store, name)):
            broken[f"sweeps/{name}"] = wrong
    live = store.leases("").live()
    half = [f"{i}/{a}" for i, one in stages.items() if i not in live for a in one.attempts]
    checked = sum(len(one.record.outputs) for one in stages.values() if one.record)
    return {"store": store.url, "stages": len(stages), "outputs": checked, "broken": broken, "half_written": half}


def _torn(sweep: Sweep) -> list[str]:
    """What is wrong with a sweep's list. A torn line with others after it is a crash that was made good."""
    wrong = []
    lines = sweep.lines().splitlines()
    try:
        if lines:
            SavedCell.model_validate_json(lines[-1])
    except ValueError:
        wrong.append(f"line {len(lines)} of cells.jsonl, its last, is no cell")
    try:
        sweep.info()
    except ValueError:
        wrong.append("sweep.json is torn")
    return wrong


# --- gc


@dataclass(frozen=True)
class Waste:
    """Something that can go: where it is, why, and how large."""

    path: str
    why: str
    bytes: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def waste(store: Store, schedulers: Mapping[str, str], grace: float = GRACE) -> tuple[list[Waste], list[str]]:
    """What can go, and what is kept for now, with the reason. `grace` is in hours.

    Kept: what is broken, what has a live lease, what changed within the grace time, and whole stages while any
    scheduler runs, since its plan may count on them, or while it cannot be said what is needed.
    """
    stages = survey(store)
    needed = set[str]().union(*needs(store, stages).values())
    leased, before = store.leases("").live(), time.time() - 3600 * grace
    unknown = [i for i, one in stages.items() if one.broken and one.record is None]
    unknown += [f"sweeps/{name}" for name in store.files.names("sweeps") if _torn(Sweep(store, name))]
    found, kept = [], []
    for stage, one in stages.items():
        path = f"stages/{stage}"
        if stage in leased:
            kept.append(f"{path}: {leased[stage].owner} is at work on it")
        elif one.broken:
            kept.append(f"{path}: broken ({one.broken[0]}); remove it by hand, or mend it")
        elif stage not in needed:
            if unknown:
                kept.append(f"{path}: no sweep seems to need it, but {unknown[0]} cannot be read")
            elif one.changed > before:
                kept.append(f"{path}: no sweep needs it, but it changed in the last {grace:g} h")
            elif schedulers:
                kept.append(f"{path}: no sweep needs it, but a scheduler runs and may count on it")
            else:
                found.append(Waste(path, "no sweep needs it", one.bytes))
        else:
            parts = {name: (info, "an attempt that counts for nothing") for name, info in one.attempts.items()}
            parts |= {name: (info, "half-written") for name, info in one.asides.items()}
            if one.checkpoints and one.record:
                parts[CHECKPOINTS] = (one.checkpoints, "step checkpoints of a finished stage")
            for name, (info, why) in sorted(parts.items()):
                if info.time <= before:
                    found.append(Waste(f"{path}/{name}", why, info.bytes))
                else:
                    kept.append(f"{path}/{name}: {why}, but it changed in the last {grace:g} h")
    return found, kept


def collect(store: Store, grace: float = GRACE, really: bool = False) -> dict[str, Any]:
    """Find what can go and, `really`, remove it. Raises UserError if another process does so now."""
    if not really:
        found, kept = waste(store, store.schedulers(), grace)
    else:
        with store.cleaning_lock() as schedulers:
            found, kept = waste(store, schedulers, grace)
            for one in found:
                if one.path.count("/") == 1:  # a whole stage's record first: without it the rest stands for nothing
                    store.files.remove(f"{one.path}/{RECORD}")
                store.files.remove(one.path)
    total = sum(one.bytes for one in found)
    return {"store": store.url, "removed": really, "bytes": total, "waste": [w.as_json() for w in found], "kept": kept}
