"""What a store and a sweep hold, for `ls`, `status` and `explain`. Reads only."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from s1sweep.errors import UserError, nearest
from s1sweep.identity import kind_of
from s1sweep.planning import KINDS, KnownIds, Plan, Stage
from s1sweep.spec import CellSpec
from s1sweep.store import CHECKPOINTS, Store, Sweep, diff
from s1sweep.store.leases import Lease

STATES = ("done", "running", "failed", "waiting")


def sweeps(store: Store) -> list[dict[str, Any]]:
    """One row per sweep: name, notes, tags, creation time, cells, cells done."""
    rows = []
    for name in store.sweep_names():
        sweep = Sweep(store, name)
        cells = sweep.cells()
        done = sum(store.record(cell.stages["grade"]) is not None for cell in cells)
        rows.append({"name": name, **sweep.info().as_json(), "cells": len(cells), "done": done})
    return rows


def sweeps_text(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "No sweeps yet. Start one with `s1sweep run`."
    lines = []
    for row in rows:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["created"]))
        tags = f" [{', '.join(row['tags'])}]" if row["tags"] else ""
        notes = f"  {row['notes']}" if row["notes"] else ""
        lines.append(f"{row['name']:24} {when}  {row['done']}/{row['cells']} cells{tags}{notes}")
    return "\n".join(lines)


def status(sweep: Sweep) -> dict[str, Any]:
    """States of a sweep's stages: counts by kind, and each stage that is not done, with its log."""
    store = sweep.store
    cells = sweep.cells()
    ids = sorted({name for cell in cells for name in cell.stages.values()})
    active = store.schedulers()
    leased = {name: lease for name, lease in store.leases("").live().items() if lease.owner in active}
    stages, counts = [], {kind: Counter[str]() for kind in KINDS}
    for name in ids:
        state, detail = _state(store, name, bool(active), leased)
        counts[kind_of(name)][state] += 1
        if state != "done":
            stages.append({"id": name, "state": state, **detail})
    return {
        "sweep": sweep.name,
        "scheduler": "running" if active else "none",
        "cells": len(cells),
        "cells_done": sum(store.record(cell.stages["grade"]) is not None for cell in cells),
        "stages": {kind: {state: counts[kind][state] for state in STATES} for kind in KINDS},
        "open": stages,
    }


def _state(store: Store, name: str, active: bool, leased: Mapping[str, Lease]) -> tuple[str, dict[str, Any]]:
    if store.record(name) is not None:
        return "done", {}
    failure = store.failure(name)
    if failure is not None:
        log = store.where(failure.log) if failure.log else None
        return "failed", {"kind": failure.kind, "message": str(failure), "log": log}
    if name in leased:
        return "running", {"progress": _how_far(store, name), "cluster": leased[name].owner}
    if active and store.stage_dir(name).exists():
        return "running", {"progress": _how_far(store, name)}
    return "waiting", {}


def _how_far(store: Store, name: str) -> dict[str, float] | None:
    said = store.progress(name)
    return asdict(said) if said else None


def status_text(found: Mapping[str, Any]) -> str:
    lines = [f"Sweep {found['sweep']}: {found['cells_done']}/{found['cells']} cells, scheduler: {found['scheduler']}"]
    lines.append(f"{'':8}" + "".join(f"{state:>9}" for state in STATES))
    for kind, counts in found["stages"].items():
        lines.append(f"{kind:8}" + "".join(f"{counts[state]:>9}" for state in STATES))
    for stage in found["open"]:
        if stage["state"] == "failed":
            lines += [f"failed {stage['id']}: {stage['message']}", f"  log: {stage['log'] or 'none'}"]
        elif stage["state"] == "running":
            said = stage["progress"]
            lines.append(f"running {stage['id']}" + (f" {said['done']:g}/{said['total']:g}" if said else ""))
    return "\n".join(lines)


def explain(store: Store, prefix: str) -> str:
    """A stage's hashed JSON, record, dependents, and why it is or is not reused. `prefix` may be any unique
    beginning.
    """
    planned = _planned(store)
    name = _resolve(prefix, {*planned, *store.stage_ids()})
    record, stage = store.record(name), planned.get(name)
    hashed = record.hashed if record else stage.hashed if stage else None
    lines = [f"stage  {name}", f"folder {store.where('stages', name)}"]
    if record:
        made = record.provenance
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(made.started))
        version = made.code.get("s1sweep", "of an unknown version")
        lines.append(f"done   {when}, {made.seconds:.1f} s on {made.host}, s1sweep {version}")
        lines.append("reused by every plan that asks for exactly this spec, inputs, content and versions")
    else:
        lines.append(_why_not(store, name))
        if hashed is not None:
            lines += _closest(store, name, hashed)
    lines += _block("hashed", hashed) if hashed else ["hashed  unknown: no record, and no sweep's cells need this id"]
    if record:
        said = record.result.model_dump(mode="json")
        lines += _block("summary", said["summary"]) + _block("outputs", said["outputs"])
        lines += _block("provenance", record.provenance.model_dump(mode="json"))
    used = sorted(s.id for s in planned.values() if name in s.inputs.values())
    lines.append(f"needed by {len(used)} stages" + (": " + ", ".join(used[:6]) if used else ""))
    return "\n".join(lines)


def _planned(store: Store) -> dict[str, Stage]:
    """The stages of all sweeps as this version of the code would plan them."""
    plan = Plan(KnownIds.of(store))
    for name in store.sweep_names():
        for cell in Sweep(store, name).cells():
            try:
                plan.add(CellSpec.model_validate(cell.spec), cell.axes)
            except (UserError, ValueError):
                continue  # made by another version, or its files are gone; its records still explain themselves
    return plan.stages


def _resolve(prefix: str, names: set[str]) -> str:
    found = [prefix] if prefix in names else sorted(n for n in names if n.startswith(prefix))
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{prefix!r} is the beginning of {len(found)} stages: {', '.join(found[:8])}. Give more of it.")
    raise UserError(
        f"No stage {prefix!r}.{nearest(prefix, names)} `s1sweep status` lists open stages; ids are under stages/."
    )


def _why_not(store: Store, name: str) -> str:
    failure = store.failure(name)
    if failure:
        log = store.where(failure.log) if failure.log else "none"
        return f"failed {failure}\n  log: {log}; taken up by `run --retry-failed`"
    found = store.files.tree(f"stages/{name}")
    attempts = {path.partition("/")[0] for path in found if "/" in path} - {CHECKPOINTS}
    if any(path.endswith("/withdrawn.json") for path in found):
        return "not reused: its record was withdrawn by --force and it has not run again"
    if attempts:
        return f"not reused: {len(attempts)} attempts, none of which published a record"
    return "not reused: it has never run"


def _closest(store: Store, name: str, hashed: Mapping[str, Any]) -> list[str]:
    """How the finished stage that is most like this one differs from it."""
    kind = kind_of(name)
    others = [r for n in store.stage_ids() if n != name and kind_of(n) == kind and (r := store.record(n))]
    differences = [(list(diff(r.hashed, hashed)), r.id) for r in others]
    if not differences:
        return []
    changes, other = min(differences, key=lambda pair: (len(pair[0]), pair[1]))
    return [f"closest finished {kind}: {other}, which differs in"] + [
        f"  {key}: {theirs!r} there, {ours!r} here" for key, theirs, ours in changes[:10]
    ]


def _block(title: str, value: Any) -> list[str]:
    return [title, *("  " + line for line in json.dumps(value, indent=1, ensure_ascii=False).splitlines())]
