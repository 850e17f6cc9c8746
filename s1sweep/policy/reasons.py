"""Why a job waits, in one line for `s1sweep queue`."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from s1sweep.policy.backfill import Reservation
from s1sweep.policy.cluster import Cluster
from s1sweep.policy.values import Request, Waiting


def reason(job: Waiting, cluster: Cluster, reservations: Sequence[Reservation], stuck: float, now: float) -> str:
    """`stuck`: jobs of this request that take so many seconds or longer cannot start now; 0 if none can."""
    asked, wanted = job.request, _what(job.request)
    if not cluster.possible(asked):
        return f"asks for {wanted}, which never fits: {_has(asked, cluster)}"
    first = next((r for r in reservations if r.job.id == job.id), None)
    if first is not None:
        some = f"{first.free} of {asked.bundles} bundles fit now" if asked.bundles > 1 else "it is next"
        return f"waits for {wanted}: {some}, starts {_when(first.at, now)}"
    ahead = sorted(reservations, key=lambda r: r.job.request.gpu_kind != asked.gpu_kind)
    if not ahead:
        return f"waits for {wanted}"
    name, when = ahead[0].job.id, _when(ahead[0].at, now)
    if 0 < stuck <= job.expected:
        surely = "may" if job.expected == inf else "would"
        return f"fits now, but {surely} still run when {name}, first in line, starts {when}"
    return f"waits for {wanted}: {name} is first in line and starts {when}"


def _what(request: Request) -> str:
    if request.gpus:
        one = request.gpu_kind or ("GPU" if request.gpus == 1 else "GPUs")
        many = f" in one gang of {request.bundles}" if request.bundles > 1 else ""
        return f"{request.gpus:g} {one}{many}"
    if request.engines:
        return "an engine"
    return f"{request.cpus:g} core" + ("s" if request.cpus != 1 else "")


def _has(request: Request, cluster: Cluster) -> str:
    if not request.gpus:
        return f"no node has room for {request.cpus / request.bundles:g} cores"
    usable, kind = cluster.gpus(request.gpu_kind), request.gpu_kind or "GPUs"
    biggest = max((n.gpus for n in cluster.nodes.values() if n.gpu_kind == (request.gpu_kind or n.gpu_kind)), default=0)
    out = f"; excluded: {', '.join(sorted(cluster.excluded))}" if cluster.excluded else ""
    return f"the cluster has {usable:g} {kind}, at most {biggest:g} on a node{out}"


def _when(at: float, now: float) -> str:
    if at == inf:
        return "when what runs there ends, nobody knows when"
    minutes = (at - now) / 60
    if minutes < 1:
        return "within a minute"
    return f"in about {minutes:.0f} min" if minutes < 90 else f"in about {minutes / 60:.1f} h"
