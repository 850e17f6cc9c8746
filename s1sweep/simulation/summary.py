"""What a simulated run comes to: hours, cost, use of the GPUs, waits and shares by user."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, quantiles
from typing import Any

from s1sweep.policy import Node
from s1sweep.simulation.bounds import lower_bound
from s1sweep.simulation.events import SimulatedRun
from s1sweep.simulation.work import SimulatedWork


def summary(
    run: SimulatedRun, work: Sequence[SimulatedWork], nodes: Node | Sequence[Node], price: float | None = None
) -> dict[str, Any]:
    """Makespan and its bound in hours; GPU hours used, lost to stops and spent on start-up; money at `price` per GPU
    hour.

    `utilisation` is the share of all GPUs that some job held, over the makespan; cost counts those hours alone.
    """
    listed = [nodes] if isinstance(nodes, Node) else list(nodes)
    gpus = sum(node.gpus for node in listed)
    jobs = {job.id: job for job in work}
    held = sum(a.width * (a.end - a.start) for a in run.attempts)
    kept = sum(a.width * a.kept for a in run.attempts)
    begun = sum(a.width * min(jobs[a.job].startup, a.end - a.start) for a in run.attempts)
    bound = lower_bound(work, listed)
    return {
        "makespan_hours": round(run.makespan / 3600, 3),
        "lower_bound_hours": round(bound["bound"] / 3600, 3),
        "ratio": round(run.makespan / bound["bound"], 4) if bound["bound"] else None,
        "gpu_hours": round(held / 3600, 3),
        "gpu_hours_lost": round(max(0.0, held - kept - begun) / 3600, 3),
        "gpu_hours_starting": round(begun / 3600, 3),
        "cost": None if price is None else round(held / 3600 * price, 2),
        "utilisation": round(held / (gpus * run.makespan), 4) if gpus and run.makespan else 0.0,
        "failures": sum(a.ended == "failed" for a in run.attempts),
        "preempted": sum(a.ended == "preempted" for a in run.attempts),
        "waits": waits(run, work),
        "shares": shares(run),
    }


def utilisation(run: SimulatedRun, gpus: float, bins: int = 50) -> list[float]:
    """Share of the GPUs held, in equal stretches of the makespan."""
    width = run.makespan / bins
    busy = [0.0] * bins
    for a in run.attempts:
        first, last = int(a.start / width), min(int(a.end / width), bins - 1)
        for i in range(first, last + 1):
            busy[i] += a.width * max(0.0, min(a.end, (i + 1) * width) - max(a.start, i * width))
    return [b / (gpus * width) for b in busy]


def waits(run: SimulatedRun, work: Sequence[SimulatedWork]) -> dict[str, dict[str, float]]:
    """Hours from ready to the first start, by user: mean, 95th percentile and longest."""
    started = run.started()
    hours: dict[str, list[float]] = defaultdict(list)
    for job in work:
        hours[job.user].append((started[job.id] - run.ready[job.id]) / 3600)
    return {
        user: {
            "mean": round(fmean(values), 3),
            "p95": round(quantiles(values, n=20)[-1] if len(values) > 1 else values[0], 3),
            "longest": round(max(values), 3),
        }
        for user, values in sorted(hours.items())
    }


def shares(run: SimulatedRun, contended: bool = True) -> Mapping[str, float]:
    """Each user's part of the GPU time used; by default only while every user had work waiting."""
    spans = run.contended if contended else [(0.0, run.makespan)]
    used: dict[str, float] = defaultdict(float)
    for a in run.attempts:
        used[a.user] += 0.0
    for user, width, start, end in _within(run, spans):
        used[user] += width * (end - start)
    total = sum(used.values())
    return {user: round(part / total, 4) if total else 0.0 for user, part in sorted(used.items())}


def _within(run: SimulatedRun, spans: Sequence[tuple[float, float]]) -> list[tuple[str, float, float, float]]:
    """Attempts cut to the spans (in order, not overlapping)."""
    ends = [end for _, end in spans]
    found = []
    for a in run.attempts:
        for start, end in spans[bisect_right(ends, a.start) :]:
            if start >= a.end:
                break
            found.append((a.user, a.width, max(a.start, start), min(a.end, end)))
    return found
