"""What a sweep cost: tokens by what they were for, what sharing saved, and seconds by kind of stage.

Knows records; not prices, and not how they are shown.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from s1sweep.store import Store

from .provenance import Records

# What the tokens of a readout were for, and what readers call it.
PURPOSES = {
    "thinking": "thinking",
    "injected": "injected",
    "answer": "answer",
    "probe": "probes",
    "verifier": "verifier",
    "discarded": "discarded thinking",
    "scored": "read by a reward model",
}


@dataclass(frozen=True)
class Spent:
    """`seconds` of wall time in `runs` attempts of one kind of stage, each on `devices` (`2 x NVIDIA H100`)."""

    kind: str
    stages: int
    runs: int
    seconds: float
    devices: str


@dataclass(frozen=True)
class Costs:
    """Tokens by purpose, over all readouts of the sweep as if each had been made alone; injected ones are not decoded.

    `requested` is what engine sessions were asked to decode, `decoded` what they did, `reused` what an earlier session
    had stored; the rest was shared between cells. `prefilled` is the prompt tokens they read. Of a session that was cut
    short, what was asked is known only in part: then there is no `shared`.
    """

    purposes: dict[str, int]
    requested: int
    decoded: int
    reused: int
    prefilled: int
    spent: tuple[Spent, ...]

    @property
    def shared(self) -> int | None:
        rest = self.requested - self.decoded - self.reused
        return rest if rest >= 0 else None


def costs(store: Store, found: Records) -> Costs:
    """A decode record's cost counts from the start of its session, so of each session the last record counts; it may be
    that of another sweep, since a session serves whoever needs its checkpoint.
    """
    done = {stage: record for stage, record in found.items() if record}
    decodes = {stage: record for stage, record in done.items() if _kind(stage) == "decode"}
    purposes: Counter[str] = Counter()
    for record in decodes.values():
        summary = record["result"]["summary"]
        for purpose in PURPOSES:
            mean = summary.get(f"mean_{purpose}_tokens", 0.0)
            purposes[purpose] += round(mean * summary.get("readouts", 0))
    purposes["thinking"] -= purposes["injected"]
    last = _sessions(store, decodes)
    sums = {
        name: sum(int(one["cost"].get(f"{name}_tokens", 0)) for one in last)
        for name in ("requested", "decoded", "reused", "prefilled")
    }
    kinds: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for stage, record in done.items():
        if stage not in decodes:
            kinds[_kind(stage)].append(record["provenance"])
    numbers = {kind: len(runs) for kind, runs in kinds.items()} | ({"decode": len(decodes)} if decodes else {})
    if last:
        kinds["decode"] = last
    spent = tuple(
        Spent(kind, numbers[kind], len(kinds[kind]), sum(one["seconds"] for one in kinds[kind]), _devices(kinds[kind]))
        for kind in ("pool", "curate", "select", "train", "decode", "grade")
        if kind in kinds
    )
    return Costs({PURPOSES[p]: purposes[p] for p in PURPOSES if purposes[p]}, **sums, spent=spent)


def decoded_by(store: Store, stages: Iterable[str]) -> int:
    """Distinct tokens that the sessions of some decode stages made, or found stored: the same with any number of
    engines, and whether or not another sweep had made some of them. A stage without a record counts for nothing.
    """
    sessions: dict[Any, int] = {}
    for record in filter(None, map(store.record, stages)):
        cost, key = record["provenance"]["cost"], _session(record)
        found = int(cost.get("decoded_tokens", 0)) + int(cost.get("reused_tokens", 0))
        sessions[key] = max(sessions.get(key, 0), found)
    return sum(sessions.values())


def _kind(stage: str) -> str:
    return stage.split("-", 1)[0]


def _sessions(store: Store, decodes: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The provenance of the last record of each engine session that made some of `decodes`."""
    last = {_session(record): record["provenance"] for record in decodes.values()}
    others = (store.record(stage) for stage in store.stage_ids() if _kind(stage) == "decode" and stage not in decodes)
    theirs = [record for record in others if record is not None and _session(record) in last]
    for record in [*decodes.values(), *theirs]:
        made, key = record["provenance"], _session(record)
        last[key] = max(last[key], made, key=lambda one: (one["seconds"], one["cost"].get("requested_tokens", 0)))
    return list(last.values())


def _session(record: Mapping[str, Any]) -> Any:
    """A session's stages began together, on one host, from one checkpoint."""
    made = record["provenance"]
    return made["host"], made["started"], record["result"]["hashed"]["inputs"].get("checkpoint")


def _devices(runs: list[Mapping[str, Any]]) -> str:
    """Where the runs were, as far as their records say."""
    found = set()
    for one in runs:
        engine = one["cost"].get("engine") or {}
        number = engine.get("tensor_parallel") or one["cost"].get("workers") or 1
        cpu = one["environment"].get("torch", "").endswith("+cpu") or not (engine or "workers" in one["cost"])
        name = str(engine.get("device") or ("CPU" if cpu else "accelerator"))
        name = "CPU" if name == "cpu" else name
        found.add(f"{number} × {name}" if number > 1 else name)
    return ", ".join(sorted(found))
