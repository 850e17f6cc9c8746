"""Why stages are new after an upgrade: the store has the same work, made by other versions of its components.

What an id was under an older version can be worked out, since the version is all of the hashed JSON that differs, and
then looked up among the ids that the plan knows of. So nothing is read but one record for each stage found, however
many the store holds. Knows plans and records; changes neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from s1sweep.identity import canonical, digests_with, stage_id
from s1sweep.planning.plan import Plan
from s1sweep.planning.stage import KINDS, Stage
from s1sweep.store import Store

BACK = 4  # versions of a component that are looked back
DONE = {
    **{"pool": "read", "curate": "curated", "select": "selected"},
    **{"train": "trained", "decode": "decoded", "grade": "regraded"},
}


@dataclass(frozen=True)
class Upgrade:
    """A component whose version is another than in the store; None where it was, or is, no component of the work.

    `again` counts by kind the stages to run that are new because of it, directly or through what they read.
    """

    component: str
    old: int | None
    new: int | None
    again: dict[str, int]

    def __str__(self) -> str:
        """`grader 2 -> 3: 96 regraded, 0 decoded`; kinds of which the plan has none are left out."""
        counts = ", ".join(f"{self.again[kind]} {DONE[kind]}" for kind in reversed(KINDS) if kind in self.again)
        return f"{self.component} {_said(self.old)} -> {_said(self.new)}: {counts}"


Change = tuple[str, int | None, int | None]


def upgrades(plan: Plan, missing: Mapping[str, Stage], store: Store) -> list[Upgrade]:
    """What upgrades make of a plan: one for each component that has changed, in the order of what it changes first.

    `missing` are the stages to run, inputs first. A component that is no longer one is not looked for.
    """
    before: dict[str, str] = {}  # the id that a stage of the plan had
    because: dict[str, dict[Change, None]] = {}
    kinds = plan.known.kinds()
    counts: dict[Change, Counter[str]] = {}
    for stage in missing.values() if kinds else ():
        inputs = {role: before.get(name, name) for role, name in stage.inputs.items()}
        why = {change: None for name in stage.inputs.values() for change in because.get(name, ())}
        found = _older(plan, stage, inputs) if stage.kind in kinds else None
        record = store.record(found) if found else None
        if record is not None:
            why |= dict.fromkeys(_changes(record.versions, stage.hashed["versions"]))
            for change in why:
                counts.setdefault(change, Counter())[stage.kind] += 1
        if why and not found:  # what is no longer there, say a checkpoint, was called like this at the time
            found = stage_id(stage.slug, {**stage.hashed, "inputs": inputs})
        if found:
            before[stage.id], because[stage.id] = found, why
    shown = [kind for kind, there in plan.counts(plan.stages).items() if there and kind in ("train", "decode", "grade")]
    return [
        Upgrade(*change, {kind: count[kind] for kind in KINDS if count[kind] or kind in shown})
        for change, count in counts.items()
    ]


def _older(plan: Plan, stage: Stage, inputs: Mapping[str, str]) -> str | None:
    """The id that the store has for the same work by other versions, of the stage itself or of what it reads."""
    hashed = {**stage.hashed, "inputs": inputs}
    tried = _other_versions(tuple(stage.hashed["versions"].items()))
    names = (plan.known.stored(stage.kind, found[:12]) for found in digests_with(hashed, tried))
    return next((name for name in names if name not in (None, stage.id)), None)


@lru_cache(maxsize=256)
def _other_versions(now: tuple[tuple[str, int], ...]) -> list[bytes]:
    """Versions that a store's record may have, the likeliest first: few that differ, and by little."""
    choices = [[version, *range(version - 1, max(0, version - 1 - BACK), -1), None] for _, version in now]
    found = [dict(zip((name for name, _ in now), each, strict=True)) for each in product(*choices)]
    older = [{name: version for name, version in each.items() if version is not None} for each in found]
    current = dict(now)

    def distance(each: dict[str, int]) -> tuple[int, int]:
        differ = [current[name] - each.get(name, -BACK) for name in current if each.get(name) != current[name]]
        return len(differ), sum(differ)

    return [canonical(each) for each in sorted(older, key=distance)]


def _changes(old: Mapping[str, int], new: Mapping[str, int]) -> list[Change]:
    names = sorted({*old, *new})
    return [(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def _said(version: int | None) -> str:
    return "none" if version is None else str(version)
