"""Taking over a dead lease: whatever the order in which those who try read and write, one of them has it at a time."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s1sweep.store import Store
from s1sweep.store.leases import SKEW, TTL, Lease, Leases
from s1sweep.store.storage import Files, LockHeld

LONG = TTL + SKEW + 1
NUMBERS = itertools.count()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_of_many_that_try_at_once_one_has_it(url: str) -> None:
    """Each round the one that had it has died, or let go; all find that at the same moment."""
    clock, crowd = Clock(), 6
    assert Store(url).leases("dead", clock=clock).take("x")
    for number in range(4 if url.startswith("s3") else 25):
        clock.now += LONG
        leases = [Store(url).leases(f"{number}.{i}", clock=clock) for i in range(crowd)]
        start, took = threading.Barrier(crowd), list[Leases]()

        def contend(mine: Leases, start: threading.Barrier = start, took: list[Leases] = took) -> None:
            start.wait()
            if mine.take("x"):
                took.append(mine)

        threads = [threading.Thread(target=contend, args=(mine,)) for mine in leases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (one,) = took
        assert one.others() == set() and all(mine.others() == {"x"} for mine in leases if mine is not one)
        if number % 3 == 2:
            one.drop(["x"])
            assert not Store(url).files.tree("leases"), "whoever lets go takes away what it followed too"
            assert Store(url).leases("dead", clock=clock).take("x")


def test_of_many_schedulers_one_has_the_lock_of_a_dead_one(url: str) -> None:
    """Under a URL the lock is a lease; in a directory it is the kernel's, and goes with its process."""
    if "://" in url:
        Store(url).files.replace("schedulers/main.lock", Lease("killed", "t", 0.0).encode())
    start, holding, most = threading.Barrier(6), list[str](), list[int]()

    def contend(name: str) -> None:
        store = Store(url)
        start.wait()
        try:
            with store.files.lock("schedulers/main.lock", name):
                holding.append(name)
                most.append(len(holding))
                done.wait(10)
                holding.remove(name)
        except LockHeld:
            refused.release()

    done, refused = threading.Event(), threading.Semaphore(0)
    threads = [threading.Thread(target=contend, args=(f"s{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        refused.acquire(timeout=20)
    done.set()
    for thread in threads:
        thread.join()
    assert most == [1]
    with Store(url).scheduler_lock():
        pass
    assert not [name for name in Store(url).files.tree("schedulers") if ".after-" in name]


def test_an_old_lease_is_read_and_what_is_no_lease_is_taken(url: str) -> None:
    """Files of s1sweep 0.1, which knew no files that follow, and a torn one."""
    files, clock = Store(url).files, Clock()
    files.replace("leases/live", b'{"expires": 1060.0, "owner": "old", "token": "0123456789ab"}')
    files.replace("leases/dead", b'{"expires": 1.0, "owner": "old", "token": "0123456789ab"}')
    files.replace("leases/torn", b'{"expires": 1')
    mine = Store(url).leases("new", clock=clock)
    assert mine.others() == {"live"} and mine.names() == {"live", "dead", "torn"}
    assert [mine.take(name) for name in ("live", "dead", "torn")] == [False, True, True]
    assert Store(url).leases("other", clock=clock).others() == {"live", "dead", "torn"}
    mine.drop(["dead", "torn"])
    assert list(files.tree("leases")) == ["live"]


def test_a_lease_that_ended_unseen_is_taken_anew_unless_another_has_it(url: str) -> None:
    """An owner whose store did not answer for a while goes on where nobody has come in between."""
    clock = Clock()
    a, b = (Store(url).leases(owner, clock=clock) for owner in "ab")
    assert a.take("x") and a.take("y")
    clock.now += LONG
    assert b.take("y")
    a.renew()
    assert b.others() == {"x"} and a.others() == {"y"}
    assert not b.take("x") and a.take("x") and not a.take("y")
    clock.now += LONG
    a.drop(["x"])
    assert b.names() == {"x", "y"}, "whose time is over writes and removes nothing: another may be taking it"
    assert b.take("x")


def test_what_was_left_half_way_is_removed_by_the_next(url: str) -> None:
    """Files that follow no lease: of who was killed while letting go, or while taking over."""
    files, clock = Store(url).files, Clock()
    Store(url).leases("dead", clock=lambda: 0.0).take("x")
    first = Store(url).leases("first", clock=clock)
    assert first.take("x")
    files.remove("leases/x")  # killed after the first of what it lets go of
    files.replace("leases/.y.after-0123456789ab", Lease("killed", "t", 0.0).encode())
    with Store(url).leases("second", clock=clock) as second:
        assert second.take("x")
        assert list(files.tree("leases")) == ["x"]
    Store(url).leases("dead", clock=lambda: 0.0).take("x")
    assert Store(url).leases("third", clock=clock).take("x")
    with Store(url).leases("second", clock=clock) as second:
        assert not second.take("x") and len(files.tree("leases")) == 2, "what does follow a lease stays"


# --- every order -----------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """A process that is gone: from here on it does nothing."""


class Turns:
    """Threads that take one step on files each time they are told to."""

    def __init__(self) -> None:
        self._here, self._go = threading.Semaphore(0), dict[str, threading.Semaphore]()
        self.killed, self.over = set[str](), set[str]()
        self.failed: list[BaseException] = []

    def start(self, name: str, work: Any) -> None:
        def run() -> None:
            try:
                self.wait(name)
                work()
            except Killed:
                pass
            except BaseException as error:
                self.failed.append(error)
            self.over.add(name)
            self._here.release()

        self._go[name] = threading.Semaphore(0)
        threading.Thread(target=run, daemon=True).start()
        self._here.acquire()

    def wait(self, name: str) -> None:
        """Called by a thread before each step."""
        self._here.release()
        self._go[name].acquire()
        if name in self.killed:
            raise Killed

    def step(self, name: str, kill: bool = False) -> None:
        """Let a thread take a step, or die; it is at its next step, or over, when this returns."""
        if name not in self.over:
            self.killed |= {name} if kill else set()
            self._go[name].release()
            self._here.acquire()


class Stepped:
    """Files of which each use waits for its turn."""

    def __init__(self, files: Files, turns: Turns, name: str) -> None:
        self._files, self._turns, self._name = files, turns, name

    def __getattr__(self, verb: str) -> Any:
        def use(*arguments: Any) -> Any:
            self._turns.wait(self._name)
            return getattr(self._files, verb)(*arguments)

        return use


PEOPLE = 4
# Who goes on next and for how many steps; a number beyond the people lets time pass. Then, who dies at which of these.
ORDERS = st.lists(st.tuples(st.integers(0, PEOPLE), st.integers(1, 14)), max_size=30)
DEATHS = st.lists(st.integers(0, 29), max_size=3)


def interleaved(files: Files, orders: list[tuple[int, int]], killed: list[int]) -> None:
    """Several who come, take over a dead lease, look after it, let go and come again, in the order of `orders`.

    Time passes only where nobody alive holds anything or lets go of it: an owner that stalls for as long as its lease
    lasts is not meant here, but whoever tries to take one may stall for as long as it likes.
    """
    clock, turns, holding, owners = Clock(), Turns(), set[str](), set[str]()
    assert Leases(files, "leases", "dead", clock=lambda: 0.0).take("x")

    def live(name: str) -> Iterator[None]:
        for _ in range(2):
            with Leases(Stepped(files, turns, name), "leases", name, clock=clock) as leases:
                if leases.take("x"):
                    owners.add(name)
                    holding.add(name)
                    others = holding - {name} - turns.killed
                    assert not others, f"{name} and {others} have it at once"
                    leases.renew()
                    assert leases.take("x") and leases.others() == set()
                    turns.wait(name)
                    holding.discard(name)
            owners.discard(name)
            yield

    names = [f"p{i}" for i in range(PEOPLE)]
    for name in names:
        turns.start(name, lambda name=name: list(live(name)))
    for number, (who, steps) in enumerate(orders):
        for step in range(steps) if who < PEOPLE else ():
            turns.step(names[who], kill=number in killed and step == steps - 1)
        if who == PEOPLE and not owners - turns.killed:
            clock.now += LONG
    while not turns.over.issuperset(names):
        for name in names:
            turns.step(name)
    assert not turns.failed, turns.failed
    clock.now += 2 * LONG
    with Leases(files, "leases", "last", clock=clock) as last:
        assert last.take("x"), "nothing keeps it from who comes later"
    assert not files.tree("leases")


@settings(max_examples=200, deadline=None)
@given(ORDERS, DEATHS)
@example([(0, 4), (1, 17), (0, 20)], [])  # one stalls having seen it dead, and goes on when that has come and gone
def test_whatever_the_order_one_has_it_at_a_time(orders: list[tuple[int, int]], killed: list[int]) -> None:
    pytest.importorskip("fsspec")
    interleaved(Store(f"memory://turns{next(NUMBERS)}/x").files, orders, killed)


@settings(max_examples=15, deadline=None)
@given(ORDERS, DEATHS)
def test_and_in_a_directory(
    tmp_path_factory: pytest.TempPathFactory, orders: list[tuple[int, int]], killed: list[int]
) -> None:
    interleaved(Store(tmp_path_factory.mktemp("turns")).files, orders, killed)
