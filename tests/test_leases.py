"""Leases: two schedulers on one store share its work; a dead one's is taken over; the first record wins."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1sweep.planning import Stage
from s1sweep.policy import Capacity
from s1sweep.runtime import scheduler as module
from s1sweep.runtime.backend import Handle, InProcessBackend
from s1sweep.runtime.job import StageOutcome
from s1sweep.runtime.scheduler import Progress, Scheduler
from s1sweep.store import Failure, Store
from s1sweep.store.leases import SKEW, TTL, Lease, Leases
from tests.noop_stage import stage
from tests.test_scheduler import PLACEMENT, diamond


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def pair(url: str, skew: float = 0.0) -> tuple[Clock, Leases, Leases]:
    """Leases of two owners; the second one's clock is ahead by `skew`."""
    clock = Clock()
    a = Store(url).leases("a", clock=clock)
    return clock, a, Store(url).leases("b", clock=lambda: clock.now + skew)


def test_one_holds_until_it_lets_go(url: str) -> None:
    _, a, b = pair(url)
    assert a.take("x") and a.take("x") and not b.take("x")
    assert b.others() == {"x"} and a.others() == set() and set(a.live()) == {"x"}
    b.drop(["x"])
    assert not b.take("x"), "what is another's is not dropped"
    a.drop(["x"])
    assert b.take("x") and a.others() == {"x"}


def test_a_dead_owners_lease_ends_and_a_living_ones_does_not(url: str) -> None:
    clock, a, b = pair(url)
    a.take("x")
    for _ in range(5):
        clock.now += TTL
        a.renew()
        assert not b.take("x")
    clock.now += TTL + SKEW
    assert not b.take("x")
    clock.now += 1
    assert b.others() == set() and b.take("x")
    a.renew()  # it was only asleep
    assert a.others() == {"x"} and not b.others()
    a.drop(["x"])
    assert b.holder("x"), "the new owner's lease is not dropped by the old one"


def test_an_owner_that_was_killed_goes_on_at_once(url: str) -> None:
    _, a, b = pair(url)
    a.take("x")
    again = Store(url).leases("a", clock=lambda: 1000.0)
    assert again.take("x") and not b.take("x")


@given(st.floats(-SKEW, SKEW), st.floats(0, TTL), st.floats(0, 1e9))
def test_clocks_within_the_skew_never_make_two_owners(skew: float, elapsed: float, now: float) -> None:
    lease = Lease("a", "t", now + TTL)
    assert lease.live(now + elapsed + skew)


@given(st.floats(-1e6, 1e6), st.text())
def test_what_is_no_lease_is_none(number: float, text: str) -> None:
    assert Lease.decode(Lease(text, "t", number).encode()) == Lease(text, "t", number)
    assert Lease.decode(text.encode()) is None or text.strip().startswith("{")
    assert Lease.decode(None) is None


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ELSEWHERE", 0.05)


TURN = threading.Lock()


class InTurn(InProcessBackend):
    """One stage at a time in this process, whose output can go to one log only; schedulers take turns."""

    def wait_any(self, handles: Sequence[Handle], timeout: float) -> list[tuple[Handle, list[StageOutcome]]]:
        with TURN:
            return super().wait_any(handles, timeout)


def scheduler(url: str, leases: Leases) -> Scheduler:
    return Scheduler(Store(url), InTurn(Capacity(cpus=1, engines=1)), PLACEMENT, leases=leases)


def attempts(url: str, stages: list[Stage]) -> int:
    return sum(p.is_dir() for s in stages for p in Store(url).stage_dir(s.id).iterdir())


def test_two_schedulers_do_each_stage_once(url: str) -> None:
    stages = [*diamond(), *(stage(f"s{i}") for i in range(12))]
    found: dict[str, Progress] = {}

    def run(owner: str) -> None:
        with Store(url).leases(owner) as leases:
            found[owner] = scheduler(url, leases).run({s.id: s for s in stages}, {})

    threads = [threading.Thread(target=run, args=(owner,)) for owner in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for progress in found.values():
        assert sorted(progress.done) == sorted(s.id for s in stages) and not progress.waiting
    assert attempts(url, stages) == len(stages)
    assert Store(url).leases("c").live() == {}, "nothing is held when both are through"


def test_what_a_living_cluster_holds_is_waited_for(root: Path) -> None:
    one, two = stage("one"), stage("two")
    other = Store(root).leases("other")
    assert other.take(one.id)

    def finish() -> None:
        scheduler(str(root), other).run({one.id: one}, {})  # publishes and lets go

    timer = threading.Timer(0.5, finish)
    timer.start()
    with Store(root).leases("mine") as leases:
        progress = scheduler(str(root), leases).run({s.id: s for s in (one, two)}, {})
    timer.join()
    assert progress.done == [two.id, one.id]
    assert attempts(str(root), [one, two]) == 2


def test_what_failed_elsewhere_is_not_tried_again(root: Path) -> None:
    one = stage("one", mode="bug")
    after = stage("after", one)
    other = Store(root).leases("other")
    other.take(one.id)
    Store(root).mark_failed(one.id, Failure(kind="bug", message="ValueError: there"))
    threading.Timer(0.3, other.drop, args=([one.id],)).start()
    with Store(root).leases("mine") as leases:
        progress = scheduler(str(root), leases).run({one.id: one, after.id: after}, {})
    assert progress.failed[one.id].failure.message == "ValueError: there" and progress.blocked == {after.id}


def test_a_dead_clusters_work_is_taken_over(root: Path) -> None:
    one = stage("one")
    dead = Store(root).leases("dead", clock=lambda: 0.0)
    assert dead.take(one.id)
    with Store(root).leases("mine") as leases:
        assert scheduler(str(root), leases).run({one.id: one}, {}).done == [one.id]
    record = Store(root).record(one.id)
    late = Store(root).attempt_dir(one.id)
    (late / "out.txt").write_text("one, by the one thought dead")
    assert not Store(root).publish(one.id, one.hashed, late, {}, 0.0, {})
    assert Store(root).record(one.id) == record, "the first record wins"
