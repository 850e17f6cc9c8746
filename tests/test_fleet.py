"""Nodes that lose jobs are left out, but never the last that could do some work."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s1sweep.policy import Node, Request, Running, Waiting
from s1sweep.runtime import fleet
from s1sweep.runtime.backend import InProcessBackend
from s1sweep.runtime.fleet import Fleet
from s1sweep.runtime.scheduler import Scheduler
from s1sweep.store import Store
from tests.noop_stage import stage
from tests.test_works import HERE, Lossy, until, work

CPU, OTHER = Node(cpus=8, name="cpu"), Node(cpus=4, name="other")
GPU, SPARE = Node(cpus=8, gpus=4, gpu_kind="H100", name="gpu"), Node(cpus=8, gpus=8, gpu_kind="H100", name="spare")
OLD, ENGINE = Node(cpus=8, gpus=8, gpu_kind="A100", name="old"), Node(cpus=4, engines=1, name="engine")


class Here(InProcessBackend):
    """This process, said to be as many nodes as are there."""

    def __init__(self, *there: Node) -> None:
        super().__init__(Node(cpus=1))
        self.there = list(there)

    def nodes(self) -> list[Node]:
        return self.there


@pytest.fixture(autouse=True)
def _restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that lost a job is tried again at once, not after some seconds."""
    monkeypatch.setattr(fleet, "REST", 0.0)


def losing(found: Fleet, name: str, times: int = fleet.FLAKY) -> None:
    for _ in range(times):
        found.ended(Running(Waiting("job", Request(cpus=1)), (name,), 0.0), lost=True)
        found.look()


def test_the_last_node_comes_back_when_the_others_go() -> None:
    backend = Here(CPU, OTHER)
    found = Fleet(backend)
    losing(found, "cpu")
    assert found.flaky == found.cluster.excluded == {"cpu"}
    backend.there = [CPU]
    found.look()
    assert not found.flaky and not found.cluster.excluded and found.cluster.possible(Request(cpus=8))
    backend.there = [CPU, OTHER]
    found.look()
    losing(found, "cpu", 1)
    assert found.flaky == {"cpu"}, "it is left out again at its next loss, where another can do the work"


@pytest.mark.parametrize("last", [GPU, ENGINE])
@pytest.mark.parametrize("beside", [CPU, OLD])
def test_a_node_is_left_out_only_where_another_can_do_its_work(last: Node, beside: Node) -> None:
    """A head without GPUs, or with others, is no reason to do without the only GPU node."""
    found = Fleet(Here(last, beside))
    losing(found, last.name)
    assert not found.cluster.excluded
    found = Fleet(Here(last, SPARE, Node(cpus=8, engines=2, name="server")))
    losing(found, last.name)
    assert found.flaky == {last.name}


NODES = (CPU, OTHER, GPU, SPARE, OLD, ENGINE)
EVENTS = st.one_of(
    st.tuples(st.just("lose"), st.sampled_from([n.name for n in NODES])),
    st.tuples(st.just("end"), st.sampled_from([n.name for n in NODES])),
    st.tuples(st.just("there"), st.frozensets(st.sampled_from(NODES), min_size=1)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EVENTS, max_size=40), st.sampled_from([0.0, 10.0]))
def test_whatever_happens_every_job_that_a_node_could_run_can_run(events: list, rest: float) -> None:
    fleet.REST = rest
    backend = Here(*NODES)
    found = Fleet(backend)
    for what, which in events:
        if what == "there":
            backend.there = sorted(which, key=lambda node: node.name)
        elif which in found.cluster.nodes:
            found.ended(Running(Waiting("job", Request(cpus=1)), (which,), 0.0), lost=what == "lose")
        found.look()
        for node in backend.there:
            asked = Request(1, node.gpus, node.engines, gpu_kind=node.gpu_kind)
            assert found.cluster.possible(asked), f"{node} is there, and {asked} has no place"


def test_work_goes_on_when_only_a_node_that_lost_jobs_is_left(root: Path) -> None:
    backend = Lossy("n0", "n0", "n1")
    patient = HERE.model_copy(update={"max_retries": 9})
    scheduler = Scheduler(Store(root), backend, patient)
    progress = scheduler.add(work("a", *(stage(f"s{i}") for i in range(12)), here=patient))

    def flaky() -> bool:
        scheduler.fleet.look()
        return scheduler.fleet.flaky == {"n0"}

    until(scheduler, flaky)
    backend.names, backend._bad = ["n0"], ""  # its trouble is over, and the other node is taken away
    scheduler.fleet.look()
    until(scheduler, lambda: progress.over, 30)
    assert len(progress.done) == 12
