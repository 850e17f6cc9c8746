"""Work to simulate: jobs with durations and what they wait for, by hand or from a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from s1sweep.planning import Stage
from s1sweep.runtime.pending import RANK
from s1sweep.spec import Placement
from s1sweep.stages.resources import Request, request


@dataclass(frozen=True)
class SimulatedWork:
    """One job. `seconds` of work after `startup` seconds that every attempt pays; `after` names the jobs it waits for.

    `expected` is what the scheduler is told (None: the truth). An attempt that is stopped goes on from the last whole
    multiple of `checkpoint` seconds of work; from the beginning where that is None.
    """

    id: str
    request: Request
    seconds: float
    startup: float = 0.0
    after: tuple[str, ...] = ()
    user: str = ""
    priority: int = 0
    rank: int = 0
    submitted: float = 0.0
    expected: float | None = None
    checkpoint: float | None = None
    preemptible: bool = False


def in_order(work: Iterable[SimulatedWork]) -> list[SimulatedWork]:
    """Inputs first. ValueError where something waits for what is not there, or for itself."""
    jobs = {job.id: job for job in work}
    waits = {job.id: len(job.after) for job in jobs.values()}
    then: dict[str, list[str]] = {}
    for job in jobs.values():
        for name in job.after:
            if name not in jobs:
                raise ValueError(f"{job.id!r} waits for {name!r}, which is not there")
            then.setdefault(name, []).append(job.id)
    found = [job for job in jobs.values() if not job.after]
    for job in found:
        for name in then.get(job.id, ()):
            waits[name] -= 1
            if not waits[name]:
                found.append(jobs[name])
    if len(found) < len(jobs):
        raise ValueError(f"{len(jobs) - len(found)} jobs wait for each other in a circle")
    return found


def critical_paths(work: Iterable[SimulatedWork], told: bool = False) -> dict[str, float]:
    """Seconds from each job's start to the end of the longest chain behind it, start-up times included; true ones, or
    what the scheduler is `told`.
    """
    tail: dict[str, float] = {}
    longest: dict[str, float] = {}
    for job in reversed(in_order(work)):
        seconds = job.expected if told and job.expected is not None else job.seconds
        longest[job.id] = job.startup + seconds + tail.get(job.id, 0.0)
        for name in job.after:
            tail[name] = max(tail.get(name, 0.0), longest[job.id])
    return longest


def work_of(
    stages: Mapping[str, Stage],
    placement: Placement,
    seconds: Callable[[Stage], float],
    startup: Callable[[str], float] = lambda kind: 0.0,
    user: str = "",
    checkpoint: Callable[[Stage], float | None] = lambda stage: None,
) -> list[SimulatedWork]:
    """A plan's stages (inputs first) as work. Decode stages of one engine session that can run together are one job.

    `seconds` says how long a stage takes, `startup` how long a job of a kind takes to begin, `checkpoint` how often a
    stage is saved. Inputs that are not among
    the stages are taken as finished.
    """
    depth: dict[str, int] = {}
    groups: dict[tuple[str, int], list[Stage]] = {}
    for stage in stages.values():
        depth[stage.id] = 1 + max((depth[name] for name in stage.inputs.values() if name in depth), default=0)
        groups.setdefault((stage.session or stage.id, depth[stage.id]), []).append(stage)
    job_of = {stage.id: members[0].id for members in groups.values() for stage in members}
    return [_job(members, job_of, placement, seconds, startup, user, checkpoint) for members in groups.values()]


def _job(
    members: Sequence[Stage],
    job_of: Mapping[str, str],
    placement: Placement,
    seconds: Callable[[Stage], float],
    startup: Callable[[str], float],
    user: str,
    checkpoint: Callable[[Stage], float | None],
) -> SimulatedWork:
    kind = members[0].kind
    after = {job_of[name]: None for stage in members for name in stage.inputs.values() if name in job_of}
    return SimulatedWork(
        id=members[0].id,
        request=request(kind, placement),
        seconds=sum(map(seconds, members)),
        startup=startup(kind),
        after=tuple(after),
        user=user,
        rank=RANK[kind],
        checkpoint=checkpoint(members[0]),
    )
