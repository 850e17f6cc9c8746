"""The scheduler on both backends, which must behave alike: order, failures, retries, interrupts, nothing done twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s1sweep.planning import Stage
from s1sweep.policy import Capacity
from s1sweep.runtime.backend import Backend, InProcessBackend
from s1sweep.runtime.job import StageOutcome
from s1sweep.runtime.scheduler import Progress, Scheduler
from s1sweep.store import Failure, Store, same_result
from tests.helpers import ROOT, compose
from tests.noop_stage import stage

PLACEMENT = compose("train=none")[0].placement


@pytest.fixture(scope="module")
def ray_backend() -> Iterator[Backend]:
    from s1sweep.runtime.ray_backend import RayBackend

    os.environ["PYTHONPATH"] = str(ROOT)
    backend = RayBackend(PLACEMENT, cpus=2)
    yield backend
    backend.close()


@pytest.fixture(params=["inprocess", pytest.param("ray", marks=pytest.mark.slow)])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "ray":
        return request.getfixturevalue("ray_backend")
    return InProcessBackend(Capacity(cpus=1, engines=1))


def go(root: Path, backend: Backend, *stages: Stage, standing: dict[str, StageOutcome] | None = None) -> Progress:
    return Scheduler(Store(root), backend, PLACEMENT).run({s.id: s for s in stages}, standing or {})


def diamond(**modes: str) -> list[Stage]:
    a = stage("a", mode=modes.get("a", "ok"))
    b, c = (stage(n, a, mode=modes.get(n, "ok")) for n in "bc")
    return [a, b, c, stage("d", b, c, mode=modes.get("d", "ok")), stage("e", mode=modes.get("e", "ok"))]


def test_runs_inputs_first_and_publishes_all(root: Path, backend: Backend) -> None:
    stages = diamond()
    progress = go(root, backend, *stages)
    assert set(progress.done) == {s.id for s in stages}
    assert (Store(root).outputs(stages[3].id) / "out.txt").read_text() == "dbaca"
    assert not progress.waiting and not progress.running and not progress.failed


def test_a_failure_blocks_only_what_needs_it(root: Path, backend: Backend) -> None:
    stages = diamond(b="bug")
    a, b, c, d, e = (s.id for s in stages)
    progress = go(root, backend, *stages)
    assert (set(progress.done), set(progress.failed), progress.blocked) == ({a, c, e}, {b}, {d})
    failure = Store(root).failure(b)
    assert failure and failure.kind == "bug" and failure.message == "ValueError: a planted bug" and failure.log
    log = (root / failure.log).read_text()
    assert "running b" in log and "Traceback" in log and "a planted bug" in log


def test_a_standing_failure_is_not_tried_again(root: Path, backend: Backend) -> None:
    stages = diamond()
    standing = {stages[1].id: StageOutcome(stages[1].id, Failure(kind="bug", message="earlier"))}
    progress = go(root, backend, *stages, standing=standing)
    assert set(progress.failed) == {stages[1].id} and progress.blocked == {stages[3].id}


def test_out_of_memory_is_tried_once_more_a_bug_is_not(root: Path, backend: Backend) -> None:
    bug, oom = stage("bug", mode="bug"), stage("oom", mode="oom")
    go(root, backend, bug, oom)
    attempts = {s.id: sum(p.is_dir() for p in Store(root).stage_dir(s.id).iterdir()) for s in (bug, oom)}
    assert attempts == {bug.id: 1, oom.id: 2}
    failure = Store(root).failure(oom.id)
    assert failure and failure.kind == "out_of_memory" and failure.remedy
    assert "20.00 GiB" in failure.message and str(failure).endswith(f"{failure.remedy}.")


@pytest.mark.slow
def test_a_lost_worker_is_replaced(root: Path, ray_backend: Backend, tmp_path: Path) -> None:
    once, always = stage("once", mode="die_once", mark=str(tmp_path / "died")), stage("always", mode="die")
    after = stage("after", once)
    progress = go(root, ray_backend, once, always, after)
    assert set(progress.done) == {once.id, after.id}
    (failed,) = progress.failed.values()
    assert failed.stage_id == always.id and failed.failure and failed.failure.kind == "worker_lost"
    assert (tmp_path / "died").exists()


@pytest.mark.slow
def test_an_interrupt_inside_a_call_of_ray_waits_for_its_end(
    root: Path, monkeypatch: pytest.MonkeyPatch, ray_backend: Backend
) -> None:
    import ray

    through = []
    real = ray.wait

    def wait(*args: Any, **kwargs: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        found = real(*args, **kwargs)
        through.append(found)
        return found

    monkeypatch.setattr(ray, "wait", wait)
    slow = stage("slow", mode="slow")
    with pytest.raises(KeyboardInterrupt):
        Scheduler(Store(root), ray_backend, PLACEMENT).run({slow.id: slow}, {})
    assert len(through) == 1 and signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_an_interrupt_cancels_what_runs(root: Path, ray_backend: Backend) -> None:
    slow = stage("slow", mode="slow")

    def interrupt(progress: Progress) -> None:
        if progress.running:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Scheduler(Store(root), ray_backend, PLACEMENT, interrupt).run({slow.id: slow}, {})
    quick = [stage(f"quick{i}") for i in range(4)]
    assert len(go(root, ray_backend, *quick).done) == 4  # the slow one holds no worker any more
    assert Store(root).record(slow.id) is None


@pytest.mark.slow
def test_both_backends_make_the_same_records(root: Path, tmp_path: Path, ray_backend: Backend) -> None:
    here, there = Store(root), Store(tmp_path / "there")
    stages = diamond()
    go(here.root, InProcessBackend(Capacity(cpus=1, engines=1)), *stages)
    go(there.root, ray_backend, *stages)
    for s in stages:
        a, b = here.record(s.id), there.record(s.id)
        assert a and b and same_result(a, b)
