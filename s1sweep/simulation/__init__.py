"""What a queue of work would take: the scheduler's own policy, on nodes that exist only here.

Knows no Ray, no store and no clock; durations come from whoever calls.
"""

from __future__ import annotations

from s1sweep.simulation.bounds import lower_bound
from s1sweep.simulation.events import FCFS, OURS, RAY, Faults, Policy, SimulatedRun, simulate
from s1sweep.simulation.summary import shares, summary, utilisation, waits
from s1sweep.simulation.work import SimulatedWork, critical_paths, work_of

__all__ = [
    "FCFS",
    "OURS",
    "RAY",
    "Faults",
    "Policy",
    "SimulatedRun",
    "SimulatedWork",
    "critical_paths",
    "lower_bound",
    "shares",
    "simulate",
    "summary",
    "utilisation",
    "waits",
    "work_of",
]
