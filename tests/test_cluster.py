"""Several Ray nodes on this machine: kinds of GPU, gangs over nodes, frozen code without a shared folder."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from s1sweep.doctor import ask
from s1sweep.doctor.cluster import ray_starts
from s1sweep.planning import Plan
from s1sweep.runtime.ray_backend import RayBackend
from s1sweep.runtime.scheduler import Scheduler, Work
from s1sweep.spec import Placement
from s1sweep.store import LOG, Store
from tests import noop_gpu, raycluster
from tests.helpers import compose
from tests.noop_stage import stage
from tests.objectstore import access, moto

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not raycluster.possible(), reason="nodes are network namespaces: needs root and iproute2"),
]


@pytest.fixture(scope="module")
def nodes() -> Iterator[raycluster.RayNodes]:
    """Two kinds of node; an S3 server stands where all of them see it."""
    found = raycluster.RayNodes()
    server = moto(found.host)
    try:
        found.env = access(server.start())
        found.head()
        found.add("h", kind="H100")
        found.add("a", kind="A100")
        yield found
    finally:
        found.close()
        server.close()


@pytest.fixture(scope="module")
def backend(nodes: raycluster.RayNodes) -> Iterator[RayBackend]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**raycluster.ray_env(), **nodes.env}.items():
            patch.setenv(name, value)
        found = RayBackend(here(nodes), cpus=1)
        yield found
        found.close()


def here(nodes: raycluster.RayNodes, **more: object) -> Placement:
    placement = compose("train=none", "placement.gpus_per_train_worker=1")[0].placement
    return placement.model_copy(update={"ray_address": nodes.address, **more})


def until(scheduler: Scheduler, *names: str, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not all(scheduler.progress(name).over for name in names):
        assert time.monotonic() < end, "it never ended"
        scheduler.step(0.2)


def test_work_goes_to_the_kind_of_gpu_that_it_asks_for(
    root: Path, nodes: raycluster.RayNodes, backend: RayBackend
) -> None:
    """Seen from inside: each node is a network namespace, and a stage's log names its own."""
    there = {node.name: (node.gpus, node.gpu_kind) for node in backend.nodes()}
    assert there == {"head": (0.0, None), "h": (4.0, "H100"), "a": (4.0, "A100")}
    store = Store(root)
    scheduler = Scheduler(store, backend, here(nodes))
    some = {kind: [stage(f"{kind}{i}", kind=noop_gpu.KIND) for i in range(6)] for kind in ("H100", "A100")}
    for kind, stages in some.items():
        scheduler.add(Work(kind, {s.id: s for s in stages}, here(nodes, gpu_kind=kind)))
    until(scheduler, *some)
    assert not any(scheduler.progress(kind).failed for kind in some)
    seen = {
        kind: {(store.outputs(s.id) / LOG).read_text().split(" in ")[1].strip() for s in some[kind]} for kind in some
    }
    mine = os.readlink("/proc/self/ns/net")
    assert len(seen["H100"]) == len(seen["A100"]) == 1 and seen["H100"] != seen["A100"] != {mine}


@pytest.mark.long  # six ranks on the cores that there are
def test_a_gang_that_no_node_can_hold_trains_on_two(
    root: Path, nodes: raycluster.RayNodes, backend: RayBackend
) -> None:
    """Six ranks where each node has four cores: real data-parallel training over two networks."""
    place = here(nodes, train_workers=6, threads=1, gpus_per_train_worker=0)
    config = compose("data=random", "data.size=24", "train.steps=2", "train.batch_size=6", "task=tiny_calc")[0]
    plan = Plan()
    plan.add(config.cell, {})
    chain = {name: s for name, s in plan.needed(set()).items() if s.kind not in ("decode", "grade")}
    scheduler = Scheduler(Store(root), backend, place)
    scheduler.add(Work("gang", chain, place))
    train = next(name for name, s in chain.items() if s.kind == "train")
    end, held = time.monotonic() + 400, set()
    while not scheduler.progress("gang").over:
        assert time.monotonic() < end
        scheduler.step(0.2)
        held |= {node for run in scheduler.fleet.cluster.running.values() for node in run.nodes}
    assert not scheduler.progress("gang").failed, scheduler.progress("gang").failed
    assert len(held) >= 2
    record = Store(root).record(train)
    assert record and record.summary["steps"] == 2


MODULE = """
from tests.noop_stage import run as _run

def run(spec, inputs, out, **more):
    said = _run(spec, inputs, out, **more)
    print("the frozen module from", __file__)
    return said
"""


def test_frozen_code_under_a_url_reaches_every_worker(
    tmp_path: Path, nodes: raycluster.RayNodes, backend: RayBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that only the frozen code has, where no folder is shared."""
    import s3fs

    monkeypatch.setenv("S1SWEEP_CACHE", str(tmp_path / "cache"))
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("frozen")
    store = Store(url := "s3://frozen/store")
    store.files.create("code/abc/only_frozen.py", MODULE.encode())
    one = stage("one", kind="only_frozen")
    scheduler = Scheduler(store, backend, here(nodes))
    scheduler.add(Work("frozen", {one.id: one}, here(nodes), code=f"{url}/code/abc"))
    until(scheduler, "frozen")
    assert not scheduler.progress("frozen").failed, scheduler.progress("frozen").failed
    (log,) = (path for path in store.files.tree(f"stages/{one.id}") if path.endswith(LOG))
    assert b"the frozen module from" in (store.files.read(f"stages/{one.id}/{log}") or b"")


def test_the_doctor_finds_a_node_without_the_store(
    nodes: raycluster.RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes have mounts of their own: one that is made after they started is the head's alone."""
    for name, value in {**raycluster.ray_env(), **nodes.env}.items():
        monkeypatch.setenv(name, value)
    root = tmp_path / "shared"
    root.mkdir()
    asked = ask(["train=none", f"placement.ray_address='{nodes.address}'", f"placement.root={root}"])
    assert asked is not None
    (good,) = ray_starts(asked)
    assert good.level == "ok" and "3 nodes at work in the store" in good.said, good
    assert not list(root.iterdir())
    run = partial(subprocess.run, check=True, capture_output=True)
    with ExitStack() as stack:
        for mount in (["--bind", str(root)], ["-t", "tmpfs", "tmpfs"]):
            run(["mount", *mount, str(root)])
            stack.callback(run, ["umount", str(root)])
            run(["mount", "--make-private", str(root)])
        (bad,) = ray_starts(asked)
    assert bad.level == "fault" and "is not the scheduler's store" in bad.said
    assert "h: " in bad.said and "a: " in bad.said and "head: " not in bad.said
    assert "Mend these nodes" in bad.todo
