"""The scheduler over several works: what is shared, who goes first, who gets how much, and what faults cost."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from s1sweep.errors import StoreUnavailable
from s1sweep.planning import Plan, Stage
from s1sweep.policy import Capacity, Ledger, Node
from s1sweep.runtime import fleet
from s1sweep.runtime import scheduler as scheduling
from s1sweep.runtime.backend import Backend, Handle, InProcessBackend
from s1sweep.runtime.job import Job, StageOutcome
from s1sweep.runtime.scheduler import Progress, Scheduler, Work
from s1sweep.spec import Placement
from s1sweep.store import Failure, HowFar, Store, same_result
from tests import noop_gpu
from tests.helpers import ROOT, compose
from tests.noop_stage import stage

HERE = compose("train=none", "placement.gpus=8", "placement.cpus=16", "placement.gpus_per_train_worker=1")[0].placement


def work(name: str, *stages: Stage, here: Placement = HERE, **more: object) -> Work:
    return Work(name, {s.id: s for s in stages}, here, **more)  # type: ignore[arg-type]


def until(scheduler: Scheduler, true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        scheduler.step(0.2)


def over(scheduler: Scheduler, *names: str) -> Callable[[], bool]:
    return lambda: all(scheduler.progress(name).over for name in names)


def ran(mark: Path) -> list[str]:
    """Names of the stages in the order in which they ended."""
    return mark.read_text().split() if mark.exists() else []


def test_time_left_goes_by_what_stages_take_and_how_far_they_are() -> None:
    expected = {"long": 30.0, "runs": 40.0, "done": 10.0, "blocked": 99.0}
    progress = Progress(expected, {"long"}, {"runs"}, ["done"], {}, {"blocked"})
    assert progress.seconds_left(100.0) is None, "what was done by then may have taken any time"
    progress.how_far["runs"] = HowFar(1, 4)
    assert progress.seconds_left(105.0) == (30 + 30) * 5.0 / 10
    progress.how_far["runs"] = HowFar(3, 4)
    assert progress.seconds_left(115.0) == (30 + 10) * 15.0 / 30
    assert Progress().seconds_left(1.0) is None


def test_time_left_counts_nothing_that_an_earlier_run_has_done() -> None:
    progress = Progress({"train": 100.0}, running={"train"}, resumed={"train": 0.6})
    for now, done in ((50.0, 62), (60.0, 64)):
        progress.how_far["train"] = HowFar(done, 100, began=60)
        left = progress.seconds_left(now)
    assert left == pytest.approx(36 * 10.0 / 2)


@pytest.fixture
def one(root: Path) -> Scheduler:
    """A scheduler on one core, in this process: whatever it starts ends before anything else starts."""
    return Scheduler(Store(root), InProcessBackend(Capacity(cpus=1, engines=1)), HERE)


def test_equal_stages_of_two_works_run_once_and_both_get_them(one: Scheduler, root: Path) -> None:
    mark = root.parent / "ran"
    shared = stage("shared", mark=str(mark))
    mine, yours = stage("mine", shared, mark=str(mark)), stage("yours", shared, mark=str(mark))
    one.add(work("a", shared, mine, user="ann"))
    one.add(work("b", shared, yours, user="bob"))
    until(one, over(one, "a", "b"))
    assert Counter(ran(mark)) == {"shared": 1, "mine": 1, "yours": 1}
    assert set(one.progress("a").done) == {shared.id, mine.id} and set(one.progress("b").done) == {shared.id, yours.id}


def test_a_failure_reaches_all_who_need_the_stage_and_nobody_else(one: Scheduler) -> None:
    bad, fine = stage("bad", mode="bug"), stage("fine")
    below, beside = stage("below", bad), stage("beside", fine)
    one.add(work("a", bad, below))
    one.add(work("b", bad, fine, beside))
    until(one, over(one, "a", "b"))
    assert one.progress("a").blocked == {below.id} and one.progress("a").failed.keys() == {bad.id}
    assert one.progress("b").failed.keys() == {bad.id} and not one.progress("b").blocked
    assert set(one.progress("b").done) == {fine.id, beside.id}


def test_a_failure_that_no_longer_stands_is_tried_again_for_all(one: Scheduler, tmp_path: Path) -> None:
    once = stage("once", mode="ok")
    below = stage("below", once)
    one.add(work("a", once, below, standing={once.id: StageOutcome(once.id, Failure(kind="bug", message="earlier"))}))
    until(one, over(one, "a"))
    assert one.progress("a").blocked == {below.id}
    one.add(work("b", once))
    until(one, over(one, "a", "b"))
    assert set(one.progress("a").done) == {once.id, below.id} and not one.progress("a").failed


def test_priority_then_age_decide_and_a_changed_priority_reorders(one: Scheduler, root: Path) -> None:
    mark = root.parent / "ran"

    def some(name: str) -> list[Stage]:
        return [stage(f"{name}{i}", mark=str(mark)) for i in range(3)]

    for name, priority in (("low", 0), ("high", 5), ("late", 0)):
        one.add(work(name, *some(name), user=name, priority=priority, submitted=float(len(name))))
    until(one, over(one, "high"))
    assert ran(mark) == ["high0", "high1", "high2"]
    one.update("late", priority=1)
    until(one, over(one, "low", "late"))
    assert ran(mark)[3:] == ["late0", "late1", "late2", "low0", "low1", "low2"]


def test_a_shared_stage_counts_for_its_best_claimant(one: Scheduler, root: Path) -> None:
    mark = root.parent / "ran"
    shared, other = stage("shared", mark=str(mark)), stage("other", mark=str(mark))
    one.add(work("a", other, user="ann", priority=3))
    one.add(work("b", shared, user="bob"))
    one.add(work("c", shared, user="eve", priority=9))
    until(one, over(one, "a", "b", "c"))
    assert ran(mark) == ["shared", "other"]


def test_a_paused_work_starts_nothing_until_it_is_resumed(one: Scheduler, root: Path) -> None:
    mark = root.parent / "ran"
    shared, mine, yours = (stage(name, mark=str(mark)) for name in ("shared", "mine", "yours"))
    one.add(work("a", shared, mine))
    one.add(work("b", shared, yours))
    one.update("a", paused=True)
    until(one, over(one, "b"))
    for _ in range(3):
        one.step(0)
    assert set(ran(mark)) == {"shared", "yours"}, "what another work needs goes on"
    assert list(one.why("a").values()) == ["paused"]
    one.update("a", paused=False)
    until(one, over(one, "a"))
    assert "mine" in ran(mark)


def test_a_removed_work_leaves_what_others_need(one: Scheduler, root: Path) -> None:
    mark = root.parent / "ran"
    shared, mine, yours = (stage(name, mark=str(mark)) for name in ("shared", "mine", "yours"))
    one.add(work("a", shared, mine, priority=9))
    one.add(work("b", shared, yours))
    one.remove("a")
    until(one, over(one, "b"))
    assert set(ran(mark)) == {"shared", "yours"}


def test_who_has_used_more_waits(root: Path) -> None:
    ledger = Ledger()
    ledger.charge("ann", 1000.0, 0.0)
    mark = root.parent / "ran"
    one = Scheduler(Store(root), InProcessBackend(Capacity(cpus=1)), HERE, ledger=ledger)
    one.add(work("a", stage("ann", mark=str(mark)), user="ann", submitted=1))
    one.add(work("b", stage("bob", mark=str(mark)), user="bob", submitted=2))
    until(one, over(one, "a", "b"))
    assert ran(mark) == ["bob", "ann"] and one.usage()["ann"] > 1000.0


def test_who_has_a_larger_share_may_use_more(root: Path) -> None:
    ledger, mark = Ledger(), root.parent / "ran"
    ledger.charge("ann", 3000.0, 0.0)
    ledger.charge("bob", 2000.0, 0.0)
    here = HERE.model_copy(update={"shares": {"ann": 2.0}})
    one = Scheduler(Store(root), InProcessBackend(Capacity(cpus=1)), here, ledger=ledger)
    one.add(work("b", stage("bob", mark=str(mark)), user="bob", submitted=1))
    one.add(work("a", stage("ann", mark=str(mark)), user="ann", submitted=2))
    until(one, over(one, "a", "b"))
    assert ran(mark) == ["ann", "bob"]


class Lossy:
    """A backend of several nodes that runs jobs here, one of whose nodes loses whatever it is given."""

    def __init__(self, bad: str, *names: str) -> None:
        self.capacity = Capacity(cpus=len(names))
        self._inside, self._bad = InProcessBackend(self.capacity), bad
        self.names, self.given, self._at = list(names), Counter[str](), dict[Handle, str]()

    def nodes(self) -> list[Node]:
        return [Node(cpus=1, name=name) for name in self.names]

    def submit(self, job: Job, nodes: Sequence[str] = ()) -> Handle:
        self._at[job.id] = (*nodes, *self.names)[0]
        self.given[self._at[job.id]] += 1
        return self._inside.submit(job)

    def wait_any(self, handles: Sequence[Handle], timeout: float) -> list[tuple[Handle, list[StageOutcome]]]:
        lost = next((h for h in handles if self._at[h] == self._bad), None)
        if lost is None:
            return self._inside.wait_any(handles, timeout)
        self._inside.cancel(lost)
        return [(lost, [StageOutcome(lost.rpartition("#")[0], Failure(kind="worker_lost", message="gone"))])]

    def cancel(self, handle: Handle) -> None:
        self._inside.cancel(handle)

    def close(self) -> None:
        pass


def test_a_node_that_loses_job_after_job_is_excluded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "REST", 0.0)
    backend = Lossy("n0", "n0", "n1")
    patient = HERE.model_copy(update={"max_retries": 9})
    scheduler = Scheduler(Store(root), backend, patient)
    progress = scheduler.add(work("a", *(stage(f"s{i}") for i in range(12)), here=patient))

    def look() -> bool:
        scheduler.fleet.look()
        return progress.over

    until(scheduler, look)
    assert len(progress.done) == 12 and scheduler.fleet.flaky == {"n0"}
    assert backend.given["n0"] == fleet.FLAKY, "nothing more starts there"


def test_what_was_lost_on_a_node_is_tried_on_another(root: Path) -> None:
    backend = Lossy("n0", "n0", "n1")
    impatient = HERE.model_copy(update={"max_retries": 1})
    scheduler = Scheduler(Store(root), backend, impatient)
    progress = scheduler.add(work("a", stage("one"), here=impatient))
    until(scheduler, lambda: progress.over)
    assert not progress.failed and backend.given == {"n0": 1, "n1": 1}


def test_the_last_node_is_never_excluded_for_a_stage_that_kills_its_worker(root: Path) -> None:
    scheduler = Scheduler(Store(root), Lossy("n0", "n0"), HERE)
    progress = scheduler.add(work("a", *(stage(f"s{i}") for i in range(4))))
    until(scheduler, lambda: progress.over)
    assert len(progress.failed) == 4 and not scheduler.fleet.flaky


def test_nodes_come_and_go(root: Path) -> None:
    backend = Lossy("none", "n0")
    scheduler = Scheduler(Store(root), backend, HERE)
    backend.names = ["n1", "n2"]
    scheduler.fleet.look()
    progress = scheduler.add(work("a", *(stage(f"s{i}") for i in range(4))))
    until(scheduler, lambda: progress.over)
    assert backend.given.keys() == {"n1", "n2"} and len(progress.done) == 4


class Mute(Lossy):
    """One that never tells the end of what it was given on the bad node."""

    def wait_any(self, handles: Sequence[Handle], timeout: float) -> list[tuple[Handle, list[StageOutcome]]]:
        return self._inside.wait_any([h for h in handles if self._at[h] != self._bad], timeout)


def test_what_runs_on_a_node_that_is_gone_is_given_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "AWAY", 0.1)
    monkeypatch.setattr(scheduling, "ELSEWHERE", 0.1)
    backend = Mute("n0", "n0", "n1")
    scheduler = Scheduler(Store(root), backend, HERE)
    progress = scheduler.add(work("a", stage("one"), here=HERE.model_copy(update={"max_retries": 1})))
    scheduler.step(0.0)
    assert backend.given == {"n0": 1}
    backend.names.remove("n0")
    until(scheduler, lambda: progress.over, 30)
    assert not progress.failed and backend.given == {"n0": 1, "n1": 1}


class Unshared(Lossy):
    """One whose bad node has another folder under the store's path."""

    def __init__(self, folder: Path, bad: str, *names: str) -> None:
        super().__init__(bad, *names)
        self._folder = folder

    def submit(self, job: Job, nodes: Sequence[str] = ()) -> Handle:
        return super().submit(replace(job, root=str(self._folder)) if nodes == (self._bad,) else job, nodes)

    def wait_any(self, handles: Sequence[Handle], timeout: float) -> list[tuple[Handle, list[StageOutcome]]]:
        return self._inside.wait_any(handles, timeout)


def test_a_node_that_has_another_folder_for_the_store_does_nothing_there(root: Path, tmp_path: Path) -> None:
    backend = Unshared(tmp_path / "else", "n0", "n0", "n1")
    scheduler = Scheduler(Store(root), backend, HERE)
    progress = scheduler.add(work("a", stage("one"), here=HERE.model_copy(update={"max_retries": 1})))
    until(scheduler, lambda: progress.over)
    assert not progress.failed and backend.given == {"n0": 1, "n1": 1}
    assert not (tmp_path / "else").exists()
    alone = Scheduler(Store(root), Unshared(tmp_path / "else", "n0", "n0", "n0b"), HERE)
    failed = alone.add(work("b", stage("two"), here=HERE.model_copy(update={"max_retries": 0})))
    until(alone, lambda: failed.over)
    (outcome,) = failed.failed.values()
    assert "is not the scheduler's store" in str(outcome.failure) and "placement.root" in str(outcome.failure)


# --- on Ray, with eight GPUs that are only numbers


@pytest.fixture(scope="module")
def gpus() -> Iterator[Backend]:
    from s1sweep.runtime.ray_backend import RayBackend

    os.environ["PYTHONPATH"] = str(ROOT)
    backend = RayBackend(HERE, cpus=16)
    yield backend
    backend.close()


def gang(n: int) -> Placement:
    return HERE.model_copy(update={"train_workers": n})


def on_gpus(name: str, n: int, mark: Path, seconds: float, *inputs: Stage) -> list[Stage]:
    return [stage(f"{name}{i}", *inputs, mark=str(mark), seconds=seconds, kind=noop_gpu.KIND) for i in range(n)]


@pytest.mark.slow
def test_two_users_three_sweeps_share_eight_gpus(root: Path, gpus: Backend) -> None:
    """ann's small jobs and bob's gangs share by halves; what is urgent goes first; a gang of eight is not starved."""
    mark = root.parent / "ran"
    scheduler = Scheduler(Store(root), gpus, HERE)
    (shared,) = on_gpus("shared", 1, mark, 0.1)
    small = on_gpus("small", 48, mark, 1.0, shared)
    gangs, urgent = on_gpus("gang", 12, mark, 1.0, shared), on_gpus("urgent", 8, mark, 0.5)
    whole = on_gpus("whole", 1, mark, 0.5)
    scheduler.add(work("small", shared, *small, user="ann", submitted=1.0))
    scheduler.add(work("gangs", shared, *gangs, here=gang(4), user="bob", submitted=2.0))
    scheduler.add(work("urgent", *urgent, user="ann", priority=10, submitted=3.0))
    scheduler.step(0)
    assert len(scheduler.progress("urgent").running) == 8, "priority goes before everything"
    assert not scheduler.progress("small").running and not scheduler.progress("gangs").running
    until(scheduler, over(scheduler, "urgent"))

    def contended() -> bool:
        return all(len(scheduler.progress(name).waiting) > 0 for name in ("small", "gangs"))

    until(scheduler, lambda: scheduler.progress("small").running.isdisjoint({shared.id}) and contended())
    begin, used, before = dict(scheduler.usage()), {}, 0
    while contended():
        scheduler.step(0.1)
        used = {user: scheduler.usage().get(user, 0.0) - begin.get(user, 0.0) for user in ("ann", "bob")}
        if not before and len(ran(mark)) > 24:
            before = len(ran(mark))
            share = used["ann"] / sum(used.values())
            assert abs(share - 0.5) <= 0.05, f"ann had {share:.2f} of what both used; half is due"
            scheduler.add(work("whole", *whole, here=gang(8), user="bob", priority=1, submitted=4.0))
    until(scheduler, over(scheduler, "small", "gangs", "whole"), 240)
    order = ran(mark)
    assert Counter(order)["shared0"] == 1 and len(order) == len(set(order))
    assert before and order.index("whole0") <= before + 8 + 2, "small jobs slipped in before the gang of eight"
    for name in ("small", "gangs", "urgent", "whole"):
        assert not scheduler.progress(name).failed


@pytest.mark.slow
def test_a_gap_before_a_gang_is_filled_by_what_is_gone_by_then(root: Path, gpus: Backend) -> None:
    """Only where it is known: what may take longer than the gap does not start in it."""
    scheduler, go, mark = Scheduler(Store(root), gpus, HERE), root.parent / "go", root.parent / "ran"
    holds = stage("holds", mark=str(go), mode="wait", kind=noop_gpu.KIND)
    scheduler.add(work("holds", holds, here=gang(4), submitted=1.0, expected={holds.id: 300.0}))
    until(scheduler, lambda: bool(scheduler.progress("holds").running))
    (whole,) = on_gpus("whole", 1, mark, 0.1)
    scheduler.add(work("whole", whole, here=gang(8), priority=1, submitted=2.0, expected={whole.id: 5.0}))
    for name, seconds in (("short", 200.0), ("long", 400.0), ("unknown", None)):
        (one,) = on_gpus(name, 1, mark, 0.1)
        scheduler.add(work(name, one, submitted=3.0, expected={one.id: seconds} if seconds else {}))
    until(scheduler, over(scheduler, "short"))
    for _ in range(3):
        scheduler.step(0.1)
    assert ran(mark) == ["short0"]
    (why,) = scheduler.why("whole").values()
    assert "4 of 8 bundles fit now, starts in about 5 min" in why
    assert "would still run" in next(iter(scheduler.why("long").values()))
    assert "may still run" in next(iter(scheduler.why("unknown").values()))
    go.touch()
    until(scheduler, over(scheduler, "holds", "whole", "long", "unknown"))
    assert ran(mark)[1] == "whole0"


@pytest.mark.slow
def test_a_removed_work_frees_its_gpus_at_once(root: Path, gpus: Backend, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    scheduler = Scheduler(Store(root), gpus, HERE)
    long = on_gpus("long", 2, mark, 600.0)
    scheduler.add(work("long", *long, here=gang(4), user="ann"))
    until(scheduler, lambda: len(scheduler.progress("long").running) == 2)
    scheduler.remove("long")
    scheduler.add(work("next", *on_gpus("next", 1, mark, 0.0), here=gang(8), user="bob"))
    until(scheduler, over(scheduler, "next"), 60)
    assert ran(mark) == ["next0"] and not scheduler.fleet.cluster.running


@pytest.mark.slow
def test_a_job_that_gets_no_further_is_cancelled_and_tried_again(root: Path, gpus: Backend, tmp_path: Path) -> None:
    quick = HERE.model_copy(update={"hang_after": 2.0, "max_retries": 1})
    once, always = stage("once", mode="hang_once", mark=str(tmp_path / "hung")), stage("always", mode="hang")
    scheduler = Scheduler(Store(root), gpus, quick)
    progress = scheduler.add(work("a", once, always, here=quick))
    until(scheduler, lambda: progress.over)
    assert progress.done == [once.id]
    assert (failure := Store(root).failure(always.id)) and failure.kind == "hung" and "hang_after" in failure.message
    assert progress.failed.keys() == {always.id}


@pytest.mark.long
@pytest.mark.slow
def test_a_training_makes_way_at_a_checkpoint_and_loses_nothing(root: Path, tmp_path: Path) -> None:
    """On one core: what is urgent runs between two steps of a training, which then goes on to the same weights."""
    from s1sweep.runtime.ray_backend import RayBackend

    options = ("data=random", "data.size=32", "train.steps=40", "task=tiny_calc", "placement.cpus=1")
    config = compose(*options, "placement.checkpoint_every=1000")[0]
    plan = Plan()
    train = plan.add(config.cell, {}).stages["train"]
    stages = plan.needed(set())
    wanted, todo = set(), [train]
    while todo:
        wanted.add(name := todo.pop())
        todo += stages[name].inputs.values()
    chain = {name: s for name, s in stages.items() if name in wanted}
    calm = Store(tmp_path / "calm")
    Scheduler(calm, InProcessBackend(Capacity(cpus=1)), config.placement).run(chain, {})
    store = Store(root)
    backend = RayBackend(config.placement, cpus=1)
    try:
        scheduler = Scheduler(store, backend, config.placement)
        scheduler.add(Work("long", chain, config.placement, user="ann"))
        until(scheduler, lambda: (far := store.progress(train)) is not None and far.done >= 2, 240)
        urgent = stage("urgent")
        scheduler.add(work("urgent", urgent, here=config.placement, user="bob", priority=5))
        until(scheduler, over(scheduler, "urgent"), 240)
        assert store.record(train) is None and 0 < store.saved_step(train) < 40
        until(scheduler, over(scheduler, "long"), 240)
    finally:
        backend.close()
    record, undisturbed = store.record(train), calm.record(train)
    assert record and undisturbed and same_result(record, undisturbed)
    assert record.cost["resumed_from"]


class Full:
    """A store's files that refuse every write while `full`."""

    def __init__(self, files: object) -> None:
        self.files, self.full = files, False

    def __getattr__(self, name: str) -> object:
        if self.full and name in ("create", "replace", "append", "put"):
            raise StoreUnavailable("the disk is full")
        return getattr(self.files, name)


class Cramped(InProcessBackend):
    """Jobs find no space while the disk is full, as workers do."""

    def __init__(self, capacity: Capacity, disk: Full) -> None:
        super().__init__(capacity)
        self.disk = disk

    def wait_any(self, handles: Sequence[Handle], timeout: float) -> list[tuple[Handle, list[StageOutcome]]]:
        job = next((self._jobs[handle] for handle in handles if handle in self._jobs), None)
        if job is None or not self.disk.full or "bad" in job.id:
            return super().wait_any(handles, timeout)
        del self._jobs[job.id]
        return [(job.id, [StageOutcome(task.id, Failure(kind="store", message="no space")) for task in job.tasks])]


@pytest.mark.parametrize("leased", [False, True])
def test_a_full_disk_costs_no_try_and_loses_no_stage(root: Path, leased: bool) -> None:
    """Jobs end, fail and wait to start while nothing can be written; all that follows comes when it can."""
    store = Store(root)
    store.files = disk = Full(store.files)  # type: ignore[assignment]
    here = HERE.model_copy(update={"max_retries": 1})
    bad, fine, last = stage("bad", mode="bug"), stage("fine"), stage("last")
    with store.leases("main") if leased else nullcontext(None) as leases:
        scheduler = Scheduler(store, Cramped(Capacity(cpus=1), disk), here, leases=leases)
        progress = scheduler.add(work("a", bad, fine, last, here=here))
        disk.full = not leased  # a lease cannot be taken then, and nothing starts
        for _ in range(6):
            with suppress(StoreUnavailable):
                scheduler.step(0)
            disk.full = True
        with pytest.raises(StoreUnavailable):
            scheduler.step(0)
        assert leased or not (progress.failed or progress.done)
        disk.full = False
        until(scheduler, lambda: progress.over)
    assert progress.failed.keys() == {bad.id} and set(progress.done) == {fine.id, last.id}
    assert store.failure(bad.id)
