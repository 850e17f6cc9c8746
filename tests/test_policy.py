"""The scheduling policy as a pure function."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from s1sweep.runtime.job import Request
from s1sweep.runtime.policy import Capacity, Waiting, decide


def job(name: str, cpus: float = 1, gpus: float = 0, engines: float = 0, rank: int = 0, weight: float = 1) -> Waiting:
    return Waiting(name, Request(cpus, gpus, engines), rank, weight)


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
