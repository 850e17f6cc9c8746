"""What a sweep cost: tokens by what they were for, what sharing saved, and seconds by kind of stage.

Knows records; not prices, and not how they are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from s1sweep.estimating.jobs import FinishedJob, finished_jobs, job_of
from s1sweep.identity import kind_of
from s1sweep.planning import KINDS
from s1sweep.store import Record, Store

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
    """`seconds` of wall time in `runs` of one kind of stage, each on `devices` (`2 x NVIDIA H100`).

    A run is an engine session, or a stage of another kind (in records of s1sweep 0.1: a batch of such stages).
    """

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
    """Engine sessions count as a whole, also what they did for other sweeps: a session serves whoever needs its
    checkpoint.
    """
    done: dict[str, dict[str, Record]] = {kind: {} for kind in KINDS}
    for stage, record in found.items():
        if record is not None:
            done[record.kind][stage] = record
    decodes = done["decode"]
    jobs = {kind: finished_jobs(records.values()) for kind, records in done.items()}
    jobs["decode"] = _sessions(store, decodes)
    sums = {
        name: sum(int(job.last.cost.get(f"{name}_tokens", 0)) for job in jobs["decode"])
        for name in ("requested", "decoded", "reused", "prefilled")
    }
    spent = tuple(
        Spent(kind, len(done[kind]), len(made), sum(job.seconds for job in made), _devices(job.last for job in made))
        for kind, made in jobs.items()
        if made
    )
    return Costs(_purposes(decodes.values()), **sums, spent=spent)


def decoded_by(store: Store, stages: Iterable[str]) -> int:
    """Distinct tokens that the sessions of some decode stages made, or found stored: the same with any number of
    engines, and whether or not another sweep had made some of them. A stage without a record counts for nothing.
    """
    sessions = finished_jobs(filter(None, map(store.record, stages)))
    return sum(int(one.last.cost.get(f"{name}_tokens", 0)) for one in sessions for name in ("decoded", "reused"))


def _purposes(decodes: Iterable[Record]) -> dict[str, int]:
    """Tokens by purpose, those of which there are some."""
    found: Counter[str] = Counter()
    for record in decodes:
        for purpose in PURPOSES:
            mean = record.summary.get(f"mean_{purpose}_tokens", 0.0)
            found[purpose] += round(mean * record.summary.get("readouts", 0))
    found["thinking"] -= found["injected"]
    return {said: found[purpose] for purpose, said in PURPOSES.items() if found[purpose]}


def _sessions(store: Store, decodes: Mapping[str, Record]) -> list[FinishedJob]:
    """The engine sessions that made some of `decodes`, with the records that they made for others."""
    if not decodes:
        return []
    ours = {job_of(record) for record in decodes.values()}
    names = (name for name in store.stage_ids() if kind_of(name) == "decode" and name not in decodes)
    theirs = [record for record in map(store.record, names) if record is not None and job_of(record) in ours]
    return finished_jobs([*decodes.values(), *theirs])


def _devices(runs: Iterable[Record]) -> str:
    """Where the runs were, as far as their records say."""
    found = set()
    for record in runs:
        cost = record.cost
        engine = cost.get("engine") or {}
        number = engine.get("tensor_parallel") or cost.get("workers") or 1
        torch = record.provenance.environment.get("torch", "")
        cpu = torch.endswith("+cpu") or not (engine or "workers" in cost)
        name = str(engine.get("device") or ("CPU" if cpu else "accelerator"))
        name = "CPU" if name == "cpu" else name
        found.add(f"{number} × {name}" if number > 1 else name)
    return ", ".join(sorted(found))
