"""Who has had less of the GPUs than is due to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import exp, log

from s1sweep.policy.cluster import Cluster
from s1sweep.policy.values import Rules, Running, Waiting


class Ledger:
    """GPU-seconds of ended work by user, forgotten by half every `half_life` seconds; never where that is None.

    It is told of work as it ends, so decay begins there; work that runs is counted by `Shares`.
    """

    def __init__(self, half_life: float | None = None) -> None:
        self._half_life = half_life
        self._used: dict[str, tuple[float, float]] = {}  # GPU-seconds, as of when

    def charge(self, user: str, gpu_seconds: float, now: float) -> None:
        self._used[user] = self._at(user, now) + gpu_seconds, now

    def usage(self, now: float) -> dict[str, float]:
        return {user: self._at(user, now) for user in self._used}

    def _at(self, user: str, now: float) -> float:
        used, then = self._used.get(user, (0.0, now))
        return used if self._half_life is None else used * exp(-log(2) * (now - then) / self._half_life)


class Shares:
    """Each user's use by weight: past, what runs until now, and what runs for `rules.ahead` seconds more.

    Without the last term one user would take all that is free at one moment, because use grows only with time.
    """

    def __init__(self, cluster: Cluster, usage: Mapping[str, float], now: float, rules: Rules) -> None:
        self._cluster, self._rules = cluster, rules
        self._width = dict(cluster.width)
        self._used = {
            user: usage.get(user, 0.0) + width * now - cluster.width_started[user]
            for user, width in cluster.width.items()
        } | {user: used for user, used in usage.items() if user not in cluster.width}

    def of(self, user: str) -> float:
        """Low is first in line."""
        if not self._rules.fair:
            return 0.0
        used = self._used.get(user, 0.0) + self._width.get(user, 0.0) * self._rules.ahead
        return used / self._rules.weights.get(user, 1.0)

    def start(self, job: Waiting) -> None:
        self._width[job.user] = self._width.get(job.user, 0.0) + self._cluster.width_of(job.request)

    def above(self, job: Waiting, users: Iterable[str], candidates: Iterable[Running]) -> list[Running]:
        """Of the candidates, those that users above their entitlement could lose to `job` without falling below it;
        none unless its user stays within theirs. An entitlement is a share of the GPUs among all `users` with work.
        """
        cluster = self._cluster
        total = cluster.gpus() if cluster.counts_gpus else sum(n.cpus for n in cluster.nodes.values())
        weights = {user: self._rules.weights.get(user, 1.0) for user in {*users, job.user}}
        due = {user: total * weight / sum(weights.values()) for user, weight in weights.items()}
        if self._width.get(job.user, 0.0) + cluster.width_of(job.request) > due[job.user] + 1e-9:
            return []
        left = dict(self._width)
        found = []
        for run in candidates:
            width, user = cluster.width_of(run.job.request), run.job.user
            if user != job.user and left[user] - width >= due[user] - 1e-9:
                left[user] -= width
                found.append(run)
        return found
