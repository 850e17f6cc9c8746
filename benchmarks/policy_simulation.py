"""The scheduling policy on a synthetic mix of 10^5 stages and 4,096 GPUs, beside two simpler ones and the bound."""

from __future__ import annotations

import math
import time
from random import Random
from typing import Any

from benchmarks.common import main
from s1sweep.policy import Node
from s1sweep.simulation import (
    FCFS,
    OURS,
    RAY,
    Faults,
    Policy,
    SimulatedWork,
    lower_bound,
    simulate,
    summary,
    utilisation,
)
from s1sweep.stages.resources import Request

GANGS = {8: 0.45, 16: 0.35, 64: 0.2}  # workers of a training, a GPU each, and how many trainings have so many
USERS = 4
MIX = (
    "ablations of one training (gangs of 8, 16, 64), seven decode stages on 1 GPU, one on 8 GPUs of a node, and "
    "grading on cores; log-normal durations (trainings: median 40 min, sigma 1; decoding: 15 min, sigma 1.2), told to "
    "the scheduler with log-normal error (sigma 0.3); start-up 3 and 2 min; saved every 15 min; 4 users, all submitted "
    "at once"
)


def mix(ablations: int, seed: int = 0) -> list[SimulatedWork]:
    """Ten stages an ablation."""
    random = Random(seed)
    work: list[SimulatedWork] = []

    def job(name: str, request: Request, median: float, sigma: float, startup: float, rank: int, *after: str) -> str:
        seconds = 60 * median * math.exp(random.gauss(0, sigma))
        told = seconds * math.exp(random.gauss(0, 0.3))
        work.append(SimulatedWork(name, request, seconds, startup, after, user, 0, rank, 0.0, told, 900.0))
        return name

    for i in range(ablations):
        user = f"user{i % USERS}"
        workers = random.choices(list(GANGS), list(GANGS.values()))[0]
        train = job(f"{i}-train", Request(4 * workers, workers, 0, workers), 40, 1.0, 180, 2)
        decoded = [job(f"{i}-decode{j}", Request(4, 1), 15, 1.2, 120, 0, train) for j in range(7)]
        decoded.append(job(f"{i}-decode-wide", Request(8, 8), 15, 1.2, 120, 0, train))
        job(f"{i}-grade", Request(1), 1, 0.5, 5, 3, *decoded)
    return work


def measure(pairs: int, stages: int = 100_000, gpus: int = 4096, mtbf_days: float = 30.0) -> dict[str, Any]:
    """Makespan over lower bound under each policy; the same work and the same failures of nodes for all."""
    began = time.perf_counter()
    work = mix(stages // 10)
    nodes = [Node(128, 8, name=f"node{i:04}") for i in range(gpus // 8)]
    faults = Faults(mtbf=mtbf_days * 86_400, repair=3600.0)
    found: dict[str, Any] = {}
    for name, policy in {"ours": OURS, "first_come_first_served": FCFS, "ray_default": RAY}.items():
        found[name] = _one(work, nodes, policy, faults)
    return {
        "stages": len(work),
        "gpus": gpus,
        "mix": MIX,
        "node_mtbf_days": mtbf_days,
        "lower_bound_hours": {k: round(v / 3600, 2) for k, v in lower_bound(work, nodes).items()},
        "makespan_over_lower_bound": found["ours"]["ratio"],
        "bar": 1.10,
        **found,
        "seconds": round(time.perf_counter() - began, 1),
    }


def _one(work: list[SimulatedWork], nodes: list[Node], policy: Policy, faults: Faults) -> dict[str, Any]:
    started = time.perf_counter()
    run = simulate(work, nodes, policy, faults)
    seconds = time.perf_counter() - started
    said = summary(run, work, nodes)
    del said["cost"], said["lower_bound_hours"]
    return {
        **said,
        "utilisation_by_tenths": [round(u, 3) for u in utilisation(run, sum(n.gpus for n in nodes), 10)],
        "decisions": run.decisions,
        "cpu_ms_per_started_job": round(1000 * run.seconds / len(run.attempts), 3),
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main("policy_simulation", measure, pairs=1)
