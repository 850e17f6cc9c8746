"""The simulator: known schedules, bounds, failures; and what the policy promises over whole runs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import inf
from statistics import fmean

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks.policy_simulation import mix
from s1sweep.policy import Ledger, Node, Rules
from s1sweep.simulation import (
    FCFS,
    OURS,
    RAY,
    Faults,
    Policy,
    SimulatedRun,
    SimulatedWork,
    lower_bound,
    shares,
    simulate,
    summary,
    utilisation,
    work_of,
)
from s1sweep.stages.resources import Request

EIGHT = Node(100, 8)


def gang(name: str, gpus: int = 1, seconds: float = 60, **more: object) -> SimulatedWork:
    return SimulatedWork(name, Request(gpus, gpus, 0, gpus), seconds, **more)  # type: ignore[arg-type]


def order(run: SimulatedRun) -> list[str]:
    started = run.started()
    return sorted(started, key=lambda name: (started[name], name))


def test_a_chain_takes_its_length_and_start_up() -> None:
    work = [gang("a", seconds=10, startup=1), gang("b", seconds=20, startup=2, after=("a",))]
    run = simulate(work, EIGHT)
    assert run.makespan == 33 == lower_bound(work, EIGHT)["critical_path"]
    assert [(a.job, a.start, a.end) for a in run.attempts] == [("a", 0, 11), ("b", 11, 33)]


def test_bounds_know_gangs_bundles_and_kinds() -> None:
    nodes = [Node(8, 8, gpu_kind="H100", name="a"), Node(8, 8, gpu_kind="A100", name="b")]
    fives = [SimulatedWork(f"{i}", Request(1, 5), 60) for i in range(4)]  # one to a node
    assert lower_bound(fives, nodes)["bound"] == 120 and simulate(fives, nodes).makespan == 120
    nines = [gang(f"{i}", 9) for i in range(3)]  # no two at once
    assert lower_bound(nines, nodes)["bound"] == 180 and simulate(nines, nodes).makespan == 180
    mine = [SimulatedWork(f"{i}", Request(1, 8, gpu_kind="H100"), 60) for i in range(3)]
    assert lower_bound(mine, nodes)["bound"] == 180 and simulate(mine, nodes).makespan == 180
    with pytest.raises(ValueError, match="do not have"):
        lower_bound([SimulatedWork("x", Request(1, 1, gpu_kind="H200"), 60)], nodes)


def test_a_job_that_never_fits_is_said_and_not_waited_for() -> None:
    with pytest.raises(ValueError, match="'wide' can never run"):
        simulate([gang("wide", 9), gang("small")], EIGHT)


def test_a_circle_or_a_missing_input_is_refused() -> None:
    with pytest.raises(ValueError, match="circle"):
        simulate([gang("a", after=("b",)), gang("b", after=("a",))], EIGHT)
    with pytest.raises(ValueError, match="not there"):
        simulate([gang("a", after=("gone",))], EIGHT)


def test_backfill_fills_the_gap_before_a_gang_and_not_longer() -> None:
    """7 GPUs are busy for 100 s and a gang of 8 is next: of two small jobs the one that ends in time goes before."""
    work = [
        gang("busy", 7, 100, rank=0),
        gang("gang", 8, 50, rank=1),
        gang("long", 1, 101, rank=2),
        gang("short", 1, 99, rank=3),
    ]
    run = simulate(work, EIGHT)
    assert order(run) == ["busy", "short", "gang", "long"] and run.started()["gang"] == 100
    assert simulate(work, EIGHT, FCFS).started()["short"] == 150
    assert simulate(work, EIGHT, RAY).started()["gang"] == 199  # small work goes on slipping in before it


def test_a_failed_node_costs_what_was_not_saved_and_its_repair() -> None:
    faults = Faults(mtbf=1000, repair=500, seed=3)
    saved = simulate([gang("a", seconds=2000, startup=10, checkpoint=100)], EIGHT, faults=faults)
    unsaved = simulate([gang("a", seconds=2000, startup=10)], EIGHT, faults=faults)
    assert [a.ended for a in saved.attempts][-1] == "done" and saved.attempts[0].ended == "failed"
    assert sum(a.kept for a in saved.attempts) == pytest.approx(2000)
    for before, after in pairwise(saved.attempts):
        lost = before.end - before.start - before.kept  # with a start-up that may have been cut short
        assert before.kept % 100 == pytest.approx(0) and 0 < lost < 110
        assert after.start == before.end + 500
    assert unsaved.makespan > saved.makespan
    said = summary(saved, [gang("a", seconds=2000, startup=10, checkpoint=100)], EIGHT, price=2.0)
    assert said["failures"] == len(saved.attempts) - 1 and said["gpu_hours_lost"] >= 0
    assert said["cost"] == pytest.approx(2 * sum(a.end - a.start for a in saved.attempts) / 3600, abs=0.01)


def test_what_outranks_preempts_at_once_and_both_end() -> None:
    low = gang("low", 8, 1000, checkpoint=300, preemptible=True)
    run = simulate([low, gang("high", 8, 50, priority=1, submitted=400)], EIGHT)
    assert [(a.job, a.start, a.end, a.kept) for a in run.attempts] == [
        ("low", 0, 400, 300),
        ("high", 400, 450, 50),
        ("low", 450, 1150, 700),
    ]
    never = simulate([replace(low, preemptible=False), gang("high", 8, 50, priority=1, submitted=400)], EIGHT)
    assert never.started()["high"] == 1000


def test_utilisation_is_what_was_held() -> None:
    run = simulate([gang("a", 8, 50), gang("b", 4, 50, after=("a",))], EIGHT)
    assert utilisation(run, 8, bins=4) == pytest.approx([1, 1, 0.5, 0.5])


JOBS = st.lists(
    st.tuples(st.sampled_from([1, 1, 2, 4, 8]), st.integers(1, 100), st.integers(0, 3), st.booleans()), max_size=25
)


def made(jobs: list[tuple[int, int, int, bool]], **more: object) -> list[SimulatedWork]:
    """Jobs of one user; some wait for the one before."""
    return [
        gang(f"{i}", gpus, seconds, rank=rank, after=(f"{i - 1}",) if chained and i else (), **more)
        for i, (gpus, seconds, rank, chained) in enumerate(jobs)
    ]


@given(JOBS)
@settings(max_examples=60, deadline=None)
def test_no_schedule_beats_the_bound_and_none_holds_more_than_there_is(jobs: list[tuple[int, int, int, bool]]) -> None:
    work, nodes = made(jobs), [Node(8, 4, name="a"), Node(8, 4, name="b")]
    for policy in (OURS, FCFS, RAY):
        run = simulate(work, nodes, policy)
        assert run.makespan >= lower_bound(work, nodes)["bound"] - 1e-6
        assert {a.job for a in run.attempts if a.ended == "done"} == {job.id for job in work}  # nobody starves
        for at in {a.start for a in run.attempts}:
            assert sum(a.width for a in run.attempts if a.start <= at < a.end) <= 8


@given(JOBS)
@settings(max_examples=100, deadline=None)
def test_backfill_never_delays_what_was_promised(jobs: list[tuple[int, int, int, bool]]) -> None:
    """Nothing arrives later that goes before it, and durations are as told: then a promise holds."""
    work = [replace(job, after=(), rank=0) for job in made(jobs)]
    run = simulate(work, [Node(8, 4, name="a"), Node(8, 4, name="b")])
    started = run.started()
    for name, at in run.reserved.items():
        assert started[name] <= at + 1e-6


@given(JOBS, st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_failures_lose_no_job(jobs: list[tuple[int, int, int, bool]], seed: int) -> None:
    assume(jobs)
    work = made(jobs, checkpoint=10)
    faults = Faults(mtbf=400, repair=20, seed=seed)
    run = simulate(work, [Node(8, 4, name="a"), Node(8, 4, name="b")], faults=faults)
    for job in work:
        assert sum(a.kept for a in run.attempts if a.job == job.id) == pytest.approx(job.seconds)


def two_users() -> list[SimulatedWork]:
    """Three sweeps of two users, jobs of 1 to 8 GPUs; one of the sweeps is urgent and comes later."""
    sweeps = [("ann", 0, 0.0, 90), ("ben", 0, 0.0, 150), ("ann", 5, 3000.0, 12)]
    work = []
    for i, (user, priority, submitted, n) in enumerate(sweeps):
        for j in range(n):
            gpus, seconds = (1, 2, 4, 8)[(7 * j + i) % 4], 60.0 * (1 + (5 * j) % 9)
            more = {"user": user, "priority": priority, "submitted": submitted, "startup": 5.0}
            work.append(gang(f"{user}{i}-{j:03}", gpus, seconds, **more))
    return work


def test_two_users_and_three_sweeps_share_eight_gpus() -> None:
    work = two_users()
    run = simulate(work, EIGHT)
    part = shares(run)
    assert sum(end - start for start, end in run.contended) > 0.5 * run.makespan
    assert part["ann"] == pytest.approx(0.5, rel=0.1) and part["ben"] == pytest.approx(0.5, rel=0.1)
    started = run.started()
    assert set(started) == {job.id for job in work}
    urgent = [job for job in work if job.priority == 5]
    for job in work:
        # Once it is there, nothing goes before urgent work that asks for the same and takes no longer.
        same = [started[u.id] for u in urgent if u.request == job.request and u.seconds <= job.seconds]
        if job.priority == 0 and same:
            assert not 3000 <= started[job.id] < max(same)
    assert max(started[job.id] for job in urgent) < run.makespan / 2
    # Nobody starves: gangs of all GPUs start about when other work of their sweep does; not so if nothing is reserved.
    greedy = simulate(work, EIGHT, RAY).started()
    for sweep in ("ann0", "ben1"):
        wide = [job.id for job in work if job.id.startswith(sweep) and job.request.gpus == 8]
        rest = [job.id for job in work if job.id.startswith(sweep) and job.request.gpus < 8]
        assert fmean(started[name] for name in wide) < 1.2 * fmean(started[name] for name in rest)
        assert fmean(greedy[name] for name in wide) > 2.0 * fmean(greedy[name] for name in rest)


def test_shares_follow_weights() -> None:
    work = [gang(f"{user}{i}", 1 + i % 2, 120, user=user) for user in ("ann", "ben") for i in range(200)]
    run = simulate(work, EIGHT, Policy(Rules(weights={"ann": 3.0})))
    assert shares(run)["ann"] == pytest.approx(0.75, rel=0.1)


def test_who_used_much_before_waits_and_who_did_long_ago_does_not() -> None:
    def first(half_life: float | None, ago: float) -> str:
        ledger = Ledger(half_life)
        ledger.charge("ann", 1e5, -ago)
        work = [gang(f"{user}{i}", 8, 600, user=user, submitted=0) for user in ("ann", "ben") for i in range(10)]
        run = simulate(work, EIGHT, usage=ledger)
        return "".join(name[0] for name in order(run)[:10])

    assert first(None, 1e7) == "b" * 10
    assert first(3600, 1e7).count("a") == 5


def test_the_mix_stays_near_its_bound_and_beats_simpler_policies() -> None:
    """A small copy of the benchmark, with its failures."""
    work, nodes = mix(600), [Node(128, 8, name=f"{i:02}") for i in range(24)]
    faults = Faults(mtbf=30 * 86_400, repair=3600)
    ours, fcfs, ray = (simulate(work, nodes, policy, faults).makespan for policy in (OURS, FCFS, RAY))
    assert ours < 1.10 * lower_bound(work, nodes)["bound"]
    assert ours < min(fcfs, ray) < inf


def test_a_plan_becomes_work_and_sessions_are_one_job() -> None:
    from s1sweep.planning import Plan
    from tests.helpers import compose

    cells = compose("method.max_thinking_tokens=16,32", "data=random", "train=tiny")
    plan = Plan()
    for config in cells:
        plan.add(config.cell, {})
    work = work_of(plan.stages, cells[0].placement, lambda stage: 10.0, lambda kind: 1.0)
    assert len(work) < len(plan.stages)
    decode = [job for job in work if job.request.engines]
    assert [job.seconds for job in decode] == [20.0]
    assert simulate(work, Node(4, 0, 1)).makespan == lower_bound(work, Node(4, 0, 1))["critical_path"]
