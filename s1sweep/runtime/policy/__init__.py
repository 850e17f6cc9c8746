"""The scheduling policy: which waiting jobs start now, which running ones give way. A pure function of plain values.

Knows no Ray, no clock (`now` is an argument) and no files, so that the scheduler and the simulator use the same one.
The rules, and why each is there, are in docs/scheduling.md.
"""

from __future__ import annotations

from s1sweep.runtime.policy.admission import Actions, Preempt, Start, decide
from s1sweep.runtime.policy.backfill import Reservation
from s1sweep.runtime.policy.cluster import Cluster
from s1sweep.runtime.policy.fairshare import Ledger
from s1sweep.runtime.policy.queue import Queue
from s1sweep.runtime.policy.values import Capacity, Node, Rules, Running, Waiting

__all__ = [
    "Actions",
    "Capacity",
    "Cluster",
    "Ledger",
    "Node",
    "Preempt",
    "Queue",
    "Reservation",
    "Rules",
    "Running",
    "Start",
    "Waiting",
    "decide",
]
