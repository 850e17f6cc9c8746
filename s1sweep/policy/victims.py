"""Which running jobs give way to one that waits: those whose stopping wastes least."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from s1sweep.policy.backfill import until_it_fits
from s1sweep.policy.gangs import Free, part_of
from s1sweep.policy.values import Running, Waiting

Loss = Callable[[Running], float]


def victims(job: Waiting, free: Free, candidates: Sequence[Running], loss: Loss) -> list[Running]:
    """Candidates whose places let all of the job start, none of them in vain; empty if even all would not do.

    The least total loss is a knapsack; two greedy orders, by loss and by loss for what is freed, and the better one.
    """
    found = []
    for key in (loss, lambda run: loss(run) / (run.job.request.gpus or run.job.request.cpus or 1.0)):
        order = sorted(candidates, key=lambda run: (key(run), run.job.priority, run.job.id))
        chosen = until_it_fits(job.request, free, order)[1]
        if not _fits(job, free, chosen):
            return []
        for run in sorted(chosen, key=loss, reverse=True):
            without = [other for other in chosen if other is not run]
            if _fits(job, free, without):
                chosen = without
        found.append(chosen)
    return min(found, key=lambda chosen: sum(map(loss, chosen)))


def _fits(job: Waiting, free: Free, gone: Sequence[Running]) -> bool:
    later = free.copy()
    for run in gone:
        for name in run.nodes:
            if name in later.of:
                later.change(name, part_of(run.job.request), 1)
    return later.place(job.request) is not None
