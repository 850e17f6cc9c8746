"""The scheduling policy: which waiting jobs start now, which running ones give way. A pure function of plain values.

Knows no Ray, no clock (`now` is an argument) and no files, so that the scheduler and the simulator use the same one.
The rules, and why each is there, are in docs/scheduling.md.
"""

from __future__ import annotations

from s1sweep.policy.admission import Actions, Preempt, Start, decide
from s1sweep.policy.backfill import Reservation
from s1sweep.policy.cluster import Cluster
from s1sweep.policy.fairshare import Ledger
from s1sweep.policy.queue import Queue
from s1sweep.policy.values import Capacity, Node, Request, Rules, Running, Waiting

__all__ = [
    "Actions",
    "Capacity",
    "Cluster",
    "Ledger",
    "Node",
    "Preempt",
    "Queue",
    "Request",
    "Reservation",
    "Rules",
    "Running",
    "Start",
    "Waiting",
    "decide",
]
