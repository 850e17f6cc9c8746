"""How far stages are and how long the rest takes, by what each attempt says: sessions, shards, resumed work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from s1sweep.planning import Stage
from s1sweep.policy import Capacity, Node
from s1sweep.runtime import scheduler as scheduling
from s1sweep.runtime.backend import Handle
from s1sweep.runtime.job import Job, StageOutcome
from s1sweep.runtime.scheduler import Scheduler, Work
from s1sweep.store import HowFar, Store, write_progress
from tests.helpers import compose
from tests.noop_stage import stage

HERE = compose("train=none", "placement.engines=3", "placement.cpus=3")[0].placement
SECONDS = 3.0  # that a session's decoding takes here


class Paced:
    """A backend whose jobs are threads that say how far they are at a steady pace, and publish what they did."""

    def __init__(self, engines: int, began: float = 0.0) -> None:
        self.capacity = Capacity(cpus=engines, engines=engines)
        self._began = began  # the share of each stage that an earlier run has done
        self._jobs: dict[Handle, tuple[Job, threading.Thread]] = {}

    def nodes(self) -> list[Node]:
        return [self.capacity]

    def submit(self, job: Job, nodes: Sequence[str] = ()) -> Handle:
        thread = threading.Thread(target=self._work, args=(job,))
        self._jobs[job.id] = job, thread
        thread.start()
        return job.id

    def _work(self, job: Job) -> None:
        store, shard = Store(job.root), job.resources.shard
        folders = [store.attempt_dir(task.id, task.attempt) for task in job.tasks]
        sharded = any(".1of" in path.parent.name for path in store.root.glob("stages/*/*/progress.json"))
        steps = 2 if sharded and shard is None else 40
        first = round(self._began * steps)
        for step in range(first, steps + 1):
            for folder in folders:
                write_progress(folder, done=step, total=steps, began=first, tokens=step - first)
            time.sleep(SECONDS / 40)
        if shard is None:
            for task, folder in zip(job.tasks, folders, strict=True):
                store.publish(task.id, task.hashed, folder, {}, time.time(), {})

    def wait_any(self, handles: Sequence[Handle], timeout: float) -> list[tuple[Handle, list[StageOutcome]]]:
        time.sleep(min(timeout, 0.02))
        ended = [handle for handle in handles if not self._jobs[handle][1].is_alive()]
        return [(h, [StageOutcome(task.id) for task in self._jobs[h][0].tasks]) for h in ended]

    def cancel(self, handle: Handle) -> None:
        raise AssertionError("nothing is cancelled here")

    def close(self) -> None:
        pass


def session_of(n: int) -> list[Stage]:
    """Decode stages of one checkpoint, which one engine session serves."""
    return [replace(stage(f"cell{i}"), kind="decode", session="one") for i in range(n)]


def watched(root: Path, backend: Paced, stages: Sequence[Stage]) -> list[tuple[float, float | None]]:
    """Runs the stages; gives what was said to be left in each step, with what really was, in seconds."""
    said: list[tuple[float, float | None]] = []
    scheduler = Scheduler(Store(root), backend, HERE)
    progress = scheduler.add(Work("a", {s.id: s for s in stages}, HERE, expected={s.id: 60.0 for s in stages}))
    while not progress.over:
        scheduler.step(0.05)
        now = time.monotonic()
        said.append((now, progress.seconds_left(now)))
    end = time.monotonic()
    assert len(progress.done) == len(stages)
    return [(end - at, left) for at, left in said]


@pytest.mark.parametrize(
    ("engines", "began"), [(1, 0.0), (3, 0.0), (1, 0.6)], ids=["session of 30 stages", "three shards", "resumed"]
)
def test_time_left_is_within_a_factor_of_two_from_a_quarter_on(
    root: Path, monkeypatch: pytest.MonkeyPatch, engines: int, began: float
) -> None:
    monkeypatch.setattr(scheduling, "LOOK", 0.05)
    said = watched(root, Paced(engines, began), session_of(30))
    whole = said[0][0]
    judged = [(real, left) for real, left in said if 0.15 * whole < real < 0.75 * whole]
    assert len(judged) > 5 and all(left is not None for _, left in judged)
    wrong = [(real, left) for real, left in judged if left is not None and not real / 2 <= left <= 2 * real]
    assert not wrong, f"of {whole:.1f} s: {wrong}"


def test_a_store_tells_the_newest_attempts_apart(root: Path) -> None:
    """Three shards run at the same time, beside the folder of an attempt that was lost."""
    store = Store(root)
    write_progress(store.attempt_dir("decode-x", "20260101T000000-aaaaaa"), done=9, total=10)
    for i, done in enumerate((0, 5, 10)):
        name = f"20260102T000000-bbbbbb.{i + 1}of3-{i}"
        write_progress(store.attempt_dir("decode-x", name), done=done, total=10, tokens=100 * done)
    found = store.progress("decode-x")
    assert found is not None and (found.share, found.tokens) == (0.5, 1500.0)
    old = store.progress("decode-x", "20260101T000000-aaaaaa")
    assert old is not None and old.share == 0.9
    assert store.progress("decode-y") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"done": "much"}', "null"])
def test_progress_that_cannot_be_read_is_none(root: Path, text: str) -> None:
    store = Store(root)
    (store.attempt_dir("decode-x", "a") / "progress.json").write_text(text)
    assert store.progress("decode-x") is None


def test_shares_are_of_the_whole_stage_and_never_above_one() -> None:
    assert HowFar(9, 4).share == 1.0 and HowFar(1, 0).share == 0.0 and HowFar(5, 10, began=4).share_before == 0.4


def test_shards_are_watched_each_by_its_own_progress(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs is given up, though the others go on."""
    monkeypatch.setattr(scheduling, "LOOK", 0.05)
    hung: list[Handle] = []

    class OneHangs(Paced):
        def _work(self, job: Job) -> None:
            if job.resources.shard == (0, 3) and not hung:
                folder = Store(job.root).attempt_dir(job.tasks[0].id, job.tasks[0].attempt)
                write_progress(folder, done=1, total=40)
                hung.append(job.id)
                released.wait(20)
                return
            super()._work(job)

        def cancel(self, handle: Handle) -> None:
            cancelled.append(handle)
            released.set()

    released, cancelled = threading.Event(), list[Handle]()
    here = HERE.model_copy(update={"hang_after": 1.0, "max_retries": 1})
    scheduler = Scheduler(Store(root), OneHangs(3), here)
    stages = session_of(2)
    progress = scheduler.add(Work("a", {s.id: s for s in stages}, here))
    _until(lambda: progress.over, scheduler)
    assert cancelled == hung and len(progress.done) == 2


def _until(true: Callable[[], bool], scheduler: Scheduler) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        scheduler.step(0.05)
