"""The scheduling policy as a pure function."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from math import inf
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from s1sweep.policy import Actions, Capacity, Cluster, Node, Queue, Rules, Running, Waiting
from s1sweep.policy import decide as decide_all
from s1sweep.policy.queue import DAY
from s1sweep.stages.resources import Request


def job(name: str, cpus: float = 1, gpus: float = 0, engines: float = 0, rank: int = 0, weight: float = 1) -> Waiting:
    return Waiting(name, Request(cpus, gpus, engines), rank, weight)


def decide(ready: list[Waiting], running: list[Request], capacity: Capacity) -> list[str]:
    """The simple case: one user, a flat pool, nothing known of durations."""
    busy = [Running(Waiting(f"running {i}", request)) for i, request in enumerate(running)]
    return [start.id for start in decide_all(Queue(ready), Cluster(capacity, busy)).start]


def test_rank_then_weight_then_name() -> None:
    ready = [job("c"), job("b"), job("heavy", weight=5), job("first", rank=-1)]
    assert decide(ready, [], Capacity(3)) == ["first", "heavy", "b"]


def test_a_busy_engine_does_not_idle_the_cores() -> None:
    ready = [job("decode", engines=1, rank=0), job("train", rank=1)]
    assert decide(ready, [Request(1, 0, 1)], Capacity(2, 0, 1)) == ["train"]


def test_a_large_job_keeps_its_place() -> None:
    """Small jobs behind a waiting gang of 8 get only what the gang leaves."""
    ready = [job("gang", gpus=8), job("small", gpus=1, rank=1)]
    assert decide(ready, [Request(1, 2)], Capacity(100, 8)) == []
    assert decide(ready, [], Capacity(100, 9)) == ["gang", "small"]


JOB = st.builds(
    job,
    st.text(min_size=1, max_size=3),
    st.sampled_from([0.5, 1, 2]),
    st.sampled_from([0, 1, 4]),
    st.sampled_from([0, 1]),
    st.integers(0, 2),
    st.integers(0, 5),
)


@given(st.lists(JOB, unique_by=lambda j: j.id, max_size=12), st.integers(0, 2))
def test_never_more_than_there_is_and_independent_of_order(ready: list[Waiting], busy: int) -> None:
    running = [Request(1, 1, 0)] * busy
    capacity = Capacity(4, 6, 1)
    started = decide(ready, running, capacity)
    assert started == decide(ready[::-1], running, capacity)
    chosen = [j.request for j in ready if j.id in started] + running
    for name in ("cpus", "gpus", "engines"):
        assert sum(getattr(r, name) for r in chosen) <= getattr(capacity, name) + 1e-9


@given(st.lists(JOB, min_size=1, unique_by=lambda j: j.id, max_size=12))
def test_an_idle_cluster_starts_something(ready: list[Waiting]) -> None:
    assert decide(ready, [], Capacity(4, 6, 1))


# --- many users, nodes and priorities ---------------------------------------------------------------------------------


def gang(name: str, gpus: float, workers: int = 1, **more: object) -> Waiting:
    kind = more.pop("kind", None)
    return Waiting(name, Request(workers, gpus, 0, workers, kind), **more)  # type: ignore[arg-type]


def on(name: str, gpus: float, *nodes: str, user: str = "", priority: int = 0, **more: object) -> Running:
    """A running job with as many bundles as nodes are named."""
    asked = Request(len(nodes), gpus, 0, len(nodes))
    known = {k: more.pop(k) for k in ("expected", "preemptible") if k in more}
    return Running(Waiting(name, asked, user=user, priority=priority, **known), nodes, **more)  # type: ignore[arg-type]


def nodes(*gpus: float, kind: str | None = None) -> list[Node]:
    return [Node(64, n, 64, kind, f"n{i}") for i, n in enumerate(gpus)]


def started(actions: Actions) -> list[str]:
    return [start.id for start in actions.start]


def test_priority_goes_before_share_and_share_before_rank() -> None:
    ready = [
        gang("mine", 1, user="ann"),
        gang("theirs", 1, user="ben", rank=3),
        gang("urgent", 1, user="ann", priority=1),
    ]
    used = {"ann": 1e6}
    assert started(decide_all(Queue(ready), Cluster(nodes(3)), used)) == ["urgent", "theirs", "mine"]


def test_users_take_turns_within_one_decision() -> None:
    ready = [gang(f"{user}{i}", 1, user=user) for user in ("ann", "ben") for i in range(8)]
    assert (
        sorted(name[:3] for name in started(decide_all(Queue(ready), Cluster(nodes(8))))) == ["ann"] * 4 + ["ben"] * 4
    )


def test_running_work_counts_as_used() -> None:
    ready = [gang("ann2", 1, user="ann"), gang("ben1", 1, user="ben")]
    cluster = Cluster(nodes(2), [on("ann1", 1, "n0", user="ann")])
    assert started(decide_all(Queue(ready), cluster, {"ben": 1000.0}, now=2000.0)) == ["ben1"]
    assert started(decide_all(Queue(ready), cluster, {"ben": 5000.0}, now=2000.0)) == ["ann2"]


def test_what_was_submitted_a_day_later_waits() -> None:
    """Else a steady stream of work of a better rank would starve what is there."""
    old, new, soon = gang("old", 1, rank=3), gang("new", 1, submitted=2 * DAY), gang("soon", 1, submitted=DAY / 2)
    assert started(decide_all(Queue([old, new, soon]), Cluster(nodes(3)))) == ["soon", "old", "new"]


def test_a_gang_takes_few_nodes_and_small_work_takes_scraps() -> None:
    cluster = Cluster(nodes(8, 8, 8), [on("busy", 5, "n1")])
    (start,) = decide_all(Queue([gang("small", 2)]), cluster).start
    assert start.nodes == ("n1",)
    (start,) = decide_all(Queue([gang("gang", 10, 10)]), cluster).start
    assert Counter(start.nodes) == {"n0": 8, "n1": 2}


def test_a_bundle_needs_one_node_and_a_gang_does_not() -> None:
    cluster = Cluster(nodes(4, 4))
    queue = Queue([gang("one", 8), gang("many", 8, 8)])
    actions = decide_all(queue, cluster)
    assert started(actions) == ["many"]
    assert actions.why(gang("one", 8)) == (
        "asks for 8 GPUs, which never fits: the cluster has 8 GPUs, at most 4 on a node"
    )


def test_kinds_are_kept_apart_and_any_kind_takes_what_is_there() -> None:
    cluster = Cluster([*nodes(4, kind="A100"), Node(64, 4, 64, "H100", "h")])
    ready = [gang("h", 4, kind="H100"), gang("h2", 2, kind="H100", rank=1), gang("any", 4, rank=2)]
    actions = decide_all(Queue(ready), cluster)
    assert actions.start == [("h", ("h",)), ("any", ("n0",))]


def test_an_excluded_node_gets_nothing_new() -> None:
    cluster = Cluster(nodes(2, 2), [on("old", 1, "n0")], excluded={"n0"})
    assert decide_all(Queue([gang("a", 1), gang("b", 1), gang("c", 1)]), cluster).start == [
        ("a", ("n1",)),
        ("b", ("n1",)),
    ]
    cluster.end("old")
    cluster.include("n0")
    assert len(decide_all(Queue([gang(n, 1) for n in "abcd"]), cluster).start) == 4


def test_reservation_and_reasons() -> None:
    busy = [on("x", 2, "n0", expected=600.0), on("y", 1, "n0", expected=6000.0)]
    cluster, now = Cluster(nodes(8), busy), 60.0
    wide = gang("wide", 7, 7)
    ready = [
        wide,
        gang("long", 2, rank=1, expected=1000.0),
        gang("short", 2, rank=1, expected=540.0),
        gang("more", 4, rank=2),
    ]
    actions = decide_all(Queue(ready), cluster, now=now)
    assert started(actions) == ["short"]
    (kept,) = actions.reservations
    assert (kept.job.id, kept.at, kept.free) == ("wide", 600.0, 5)
    assert actions.why(wide) == "waits for 7 GPUs in one gang of 7: 5 of 7 bundles fit now, starts in about 9 min"
    assert actions.why(ready[1]) == "fits now, but would still run when wide, first in line, starts in about 9 min"
    assert actions.why(ready[3]) == "waits for 4 GPUs: wide is first in line and starts in about 9 min"


def test_long_work_may_use_what_a_reservation_leaves() -> None:
    cluster = Cluster(nodes(8), [on("x", 6, "n0", expected=600.0)])
    ready = [gang("wide", 7, 7), gang("one", 1, rank=1), gang("two", 1, rank=1)]
    assert started(decide_all(Queue(ready), cluster)) == ["one"]


def test_only_higher_priority_preempts_and_least_is_lost() -> None:
    running = [
        on("fresh", 4, "n0", preemptible=True, saved=900.0),
        on("stale", 4, "n0", preemptible=True, saved=100.0),
        on("mine", 4, "n1", preemptible=True, saved=1000.0, priority=1),
        on("fixed", 4, "n1", saved=1000.0),
    ]
    cluster = Cluster(nodes(8, 8), running)
    assert not decide_all(Queue([gang("a", 4)]), cluster, now=1000.0).preempt
    (given,) = decide_all(Queue([gang("a", 4, priority=1)]), cluster, now=1000.0).preempt
    assert given.id == "fresh"
    assert given.why == "makes way for a (priority 1 over 0); loses 6.7 GPU minutes since it was last saved"
    assert not decide_all(Queue([gang("a", 4, priority=1)]), cluster, now=1000.0, rules=Rules(preempt=False)).preempt
    assert not decide_all(Queue([gang("never", 9, priority=1)]), cluster, now=1000.0).preempt


def test_who_was_asked_to_stop_is_not_asked_again_and_the_place_is_kept() -> None:
    low = on("low", 8, "n0", preemptible=True)
    cluster = Cluster(nodes(8), [replace(low, stopping=True)])
    actions = decide_all(Queue([gang("high", 8, priority=1)]), cluster, now=50.0)
    assert not actions.preempt and actions.reservations[0].at == 50.0


def test_fair_share_preempts_only_where_it_may_and_never_below_what_is_due() -> None:
    running = [on(f"ann{i}", 2, "n0", user="ann", preemptible=True, saved=100.0 * i) for i in range(4)]
    cluster, queue = Cluster(nodes(8), running), Queue([gang(f"ben{i}", 2, user="ben") for i in range(4)])
    assert not decide_all(queue, cluster, now=1000.0).preempt
    actions = decide_all(queue, cluster, now=1000.0, rules=Rules(preempt_for_share=True))
    assert [p.id for p in actions.preempt] == ["ann3"]
    wide = Queue([gang("ben", 6, user="ben")])
    assert not decide_all(wide, cluster, now=1000.0, rules=Rules(preempt_for_share=True)).preempt


# --- properties -----------------------------------------------------------------------------------------------------

GANG = st.builds(
    lambda name, gpus, workers, rank, priority, user, expected, kind: gang(
        name, gpus * workers, workers, rank=rank, priority=priority, user=user, expected=expected, kind=kind
    ),
    st.text("abcdef", min_size=1, max_size=4),
    st.sampled_from([0.5, 1, 2, 4]),
    st.sampled_from([1, 1, 2, 6]),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from(["ann", "ben", "cat"]),
    st.sampled_from([1.0, 10.0, 100.0, inf]),
    st.sampled_from([None, None, "H100"]),
)
GANGS = st.lists(GANG, unique_by=lambda j: j.id, max_size=25)


def fleet() -> list[Node]:
    return [*nodes(4, 4), Node(64, 8, 64, "H100", "h0"), Node(6, 4, 64, "H100", "h1")]


def after(ready: list[Waiting], first: int) -> Cluster:
    """A cluster that started the first so many of the jobs that fit, at time 0."""
    cluster = Cluster(fleet())
    for name, where in decide_all(Queue(ready[:first]), cluster).start:
        cluster.start(Running(replace(next(j for j in ready if j.id == name), preemptible=True), where))
    return cluster


@given(GANGS, st.integers(0, 10), st.randoms())
@settings(deadline=None)
def test_nodes_are_never_overcommitted_and_input_order_does_not_matter(
    ready: list[Waiting], first: int, random: Random
) -> None:
    cluster = after(ready, first)
    queue = [job for job in ready if job.id not in cluster.running]
    actions = decide_all(Queue(queue), cluster, {"ann": 5.0}, now=5.0)
    shuffled, again = queue.copy(), Cluster(fleet()[::-1])
    random.shuffle(shuffled)
    for run in sorted(cluster.running.values(), key=lambda r: random.random()):
        again.start(run)
    other = decide_all(Queue(shuffled), again, {"ann": 5.0}, now=5.0)
    assert (actions.start, actions.preempt, actions.reservations) == (other.start, other.preempt, other.reservations)
    jobs = {job.id: job for job in ready}
    used: defaultdict[str, float] = defaultdict(float)
    cores: defaultdict[str, float] = defaultdict(float)
    for name, where in [*actions.start, *((r.job.id, r.nodes) for r in cluster.running.values())]:
        asked = jobs[name].request
        assert len(where) == asked.bundles
        for node in where:
            assert asked.gpu_kind in (None, cluster.nodes[node].gpu_kind)
            used[node] += asked.gpus / asked.bundles
            cores[node] += asked.cpus / asked.bundles
    for name, node in cluster.nodes.items():
        assert used[name] <= node.gpus + 1e-9 and cores[name] <= node.cpus + 1e-9


@given(GANGS, st.integers(0, 10))
@settings(deadline=None)
def test_nothing_that_fits_waits_where_nothing_is_reserved(ready: list[Waiting], first: int) -> None:
    cluster = after(ready, first)
    queue = [job for job in ready if job.id not in cluster.running]
    actions = decide_all(Queue(queue), cluster, rules=Rules(backfill="greedy"))
    jobs = {job.id: job for job in queue}
    for name, where in actions.start:
        cluster.start(Running(jobs.pop(name), where))
    assert all(cluster.free.place(job.request) is None for job in jobs.values())
    easy = decide_all(Queue(jobs.values()), cluster)
    assert not easy.start


@given(GANGS, st.integers(0, 10))
@settings(deadline=None)
def test_priority_is_strict_among_equal_requests(ready: list[Waiting], first: int) -> None:
    cluster = after(ready, first)
    queue = [job for job in ready if job.id not in cluster.running]
    going = set(started(decide_all(Queue(queue), cluster)))
    for job in queue:
        for other in queue:
            same = job.request == other.request and job.expected >= other.expected
            if same and job.id in going and other.id not in going:
                assert job.priority >= other.priority


@given(GANGS, st.integers(0, 10))
@settings(deadline=None)
def test_who_is_preempted_makes_room_for_one_of_higher_priority_and_none_in_vain(
    ready: list[Waiting], first: int
) -> None:
    cluster = after(ready, first)
    queue = [job for job in ready if job.id not in cluster.running]
    actions = decide_all(Queue(queue), cluster, now=0.5)
    if actions.preempt:
        best = max(job.priority for job in queue)
        assert all(cluster.running[p.id].job.priority < best for p in actions.preempt)
        for name, where in actions.start:
            cluster.start(Running(next(j for j in queue if j.id == name), where))
        for p in actions.preempt:
            cluster.end(p.id)
        promised = [r for r in actions.reservations if r.at == 0.5]
        assert promised and all(cluster.free.place(r.job.request) for r in promised)


@given(GANGS, st.data())
@settings(deadline=None)
def test_a_queue_that_changed_is_one_made_anew(ready: list[Waiting], data: st.DataObject) -> None:
    queue = Queue()
    for job in ready:
        queue.add(job)
    gone = data.draw(st.sets(st.sampled_from([j.id for j in ready]))) if ready else set()
    for name in gone:
        queue.remove(name)
    assert queue.levels == Queue([job for job in ready if job.id not in gone]).levels
