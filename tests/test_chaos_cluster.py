"""The queue's service on a cluster of several nodes, while parts of it are killed, cut off or filled up.

`make test-long` runs it. Every round finishes, and its records are those of a calm run.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from s1sweep.store import Record, Store, same_result
from tests import raycluster
from tests.helpers import cli, cli_env

pytestmark = [
    pytest.mark.long,
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(not raycluster.possible(), reason="nodes are network namespaces: needs root and iproute2"),
]

GRID = ["-m", "data=random", "extrapolation=none,wait", "task=tiny_calc", "train.steps=12", "data.size=48"]
GRID += ["task.limit=24", "name=chaos", "tracking=none", "placement.checkpoint_every=3", "placement.max_retries=9"]
ROUNDS = int(os.environ.get("S1SWEEP_CHAOS_ROUNDS", "20"))
SEED = int(os.environ.get("S1SWEEP_CHAOS_SEED", "0"))


def records(root: Path) -> dict[str, Record]:
    store = Store(root)
    found = {name: store.record(name) for name in store.stage_ids()}
    return {name: record for name, record in found.items() if record}


class Service:
    """`s1sweep serve` on the cluster, until it is killed."""

    def __init__(self, root: Path, nodes: raycluster.RayNodes) -> None:
        self.log = root.parent / "serve.log"
        placement = [f"placement.ray_address={nodes.address}", "placement.max_retries=9", "placement.engines=2"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "s1sweep.cli", "serve", *placement],
            env=cli_env(root, **raycluster.ray_env()),
            cwd=root.parent,
            stdout=self.log.open("a"),
            stderr=subprocess.STDOUT,
        )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=120)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The records of a run that nothing disturbs."""
    root = tmp_path_factory.mktemp("calm") / "store"
    done = cli("run", *GRID, root=root, timeout=900)
    assert done.returncode == 0, done.stderr
    return records(root)


@pytest.fixture(scope="module")
def nodes() -> Iterator[raycluster.RayNodes]:
    found = raycluster.RayNodes()
    try:
        found.head(cpus=0)
        for name in ("n1", "n2"):
            found.add(name, gpus=0, cpus=1)
        yield found
    finally:
        found.close()


def row(root: Path) -> dict[str, Any]:
    done = cli("queue", "--json", "--all", root=root)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["submissions"]
    return found


def busy_or_over(root: Path, nodes: raycluster.RayNodes) -> bool:
    return bool(nodes.workers(["n1", "n2"]) or row(root)["over"])


def submit(root: Path) -> None:
    done = cli("submit", *GRID, root=root)
    assert done.returncode == 0, done.stderr


def until(true: Callable[[], Any], log: Path, seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"it never came true\n{log.read_text()[-4000:]}"
        time.sleep(0.5)


def finish(root: Path, nodes: raycluster.RayNodes, service: Service) -> dict[str, Any]:
    """Wait for the queue's end; a service that ended is started again, as its launcher would."""
    services = [service]

    def over() -> bool:
        if services[-1].process.poll() is not None:
            services.append(Service(root, nodes))
        return bool(row(root)["over"])

    until(over, service.log)
    services[-1].stop()
    return row(root)


def same(root: Path, expected: dict[str, dict[str, Any]], kept: dict[str, dict[str, Any]], story: str) -> None:
    """All records, each whole and as in the calm run; those there before were not made again."""
    after = records(root)
    assert {name: after[name] for name in kept} == kept, story
    assert after.keys() == expected.keys(), story
    for name, record in after.items():
        assert same_result(record, expected[name]), f"{story}: {name}"
    done = cli("store", "verify", "--json", root=root)
    assert done.returncode == 0, f"{story}\n{done.stdout}"


def test_workers_nodes_and_schedulers_are_killed(
    tmp_path: Path, nodes: raycluster.RayNodes, expected: dict[str, dict[str, Any]]
) -> None:
    rng = random.Random(SEED)
    for number in range(ROUNDS):
        root = tmp_path / f"round{number}" / "store"
        root.parent.mkdir()
        submit(root)
        service = Service(root, nodes)
        victim, wait = rng.choice(["worker", "node", "scheduler"]), rng.uniform(3, 50)
        time.sleep(wait)
        until(partial(busy_or_over, root, nodes), service.log)
        kept = records(root)
        saved = {name: Store(root).saved_step(name) for name in expected.keys() - kept.keys() if "train-" in name}
        if victim == "scheduler":
            service.kill()
        elif found := nodes.workers(["n1", "n2"]):
            if victim == "node":
                name = next(name for name in rng.sample(["n1", "n2"], 2) if nodes.workers([name]))
                nodes.kill(name)
                nodes.add(name, gpus=0, cpus=1)
            else:
                rng.choice(found).kill()
        told = finish(root, nodes, service)
        story = f"round {number}: {victim} killed after {wait:.1f} s"
        assert told["phase"] == "done", f"{story}: {told}\n{service.log.read_text()[-3000:]}"
        same(root, expected, kept, story)
        for name, step in saved.items():
            if step:  # what had been saved was not trained again
                went_on = records(root)[name].cost["resumed_from"]
                assert int(went_on.removeprefix("step-")) >= step, story
        seconds = 3600 * told["lost_gpu_hours"]
        print(f"{story}: {len(kept)} stages kept, {seconds:.1f} core-seconds lost of {3600 * told['gpu_hours']:.1f}")
        shutil.rmtree(root.parent)


def test_a_node_is_cut_off_and_comes_back(
    tmp_path: Path, nodes: raycluster.RayNodes, expected: dict[str, dict[str, Any]]
) -> None:
    """It is given up and its work done elsewhere; what it still writes into the shared store changes nothing."""
    root = tmp_path / "cut" / "store"
    root.parent.mkdir()
    submit(root)
    service = Service(root, nodes)
    until(lambda: nodes.workers(["n1"]) or nodes.workers(["n2"]), service.log)
    name = "n1" if nodes.workers(["n1"]) else "n2"
    kept = records(root)
    nodes.cut(name)
    try:
        told = finish(root, nodes, service)
    finally:
        nodes.cut(name, off=False)
    assert told["phase"] == "done", told
    same(root, expected, kept, f"{name} cut off")
    nodes.kill(name)
    nodes.add(name, gpus=0, cpus=1)


def test_the_disk_is_full_for_a_while(tmp_path: Path, expected: dict[str, dict[str, Any]]) -> None:
    """On the head alone: a node in a namespace of its own does not see what is mounted after it has started."""
    root = tmp_path / "full" / "store"
    root.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(root)], check=True)
    nodes = raycluster.RayNodes()
    try:
        nodes.head(cpus=2)
        submit(root)
        service = Service(root, nodes)
        until(lambda: records(root), service.log)
        kept = records(root)
        ballast = root / "ballast"
        with ballast.open("wb") as f, pytest.raises(OSError, match="No space"):
            while True:
                f.write(bytes(1 << 16))
                f.flush()
        time.sleep(20)
        ballast.unlink()
        told = finish(root, nodes, service)
        assert told["phase"] == "done", f"{told}\n{service.log.read_text()[-3000:]}"
        same(root, expected, kept, "disk full")
    finally:
        nodes.close()
        subprocess.run(["umount", "-l", str(root)], check=True)


def lose_the_head(nodes: raycluster.RayNodes, root: Path, whole: bool) -> Service:
    """kill -9 of the head's processes under a service that trains, and a new head; `whole`: new nodes too."""
    nodes.head(cpus=1)
    nodes.add("n1", gpus=0, cpus=2)
    root.parent.mkdir()
    submit(root)
    service = Service(root, nodes)
    until(lambda: any(root.glob("stages/train-*/*/*")), service.log)
    for name in ("head", *(["n1"] if whole else [])):
        nodes.kill(name)
    nodes.head(cpus=1)
    if whole:
        nodes.add("n1", gpus=0, cpus=2)
    return service


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_the_head_is_lost_and_comes_back_with_redis(tmp_path: Path, expected: dict[str, dict[str, Any]]) -> None:
    """The nodes go on with it, and so does the service, or is started again."""
    port = raycluster.free_port()
    redis = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    nodes = raycluster.RayNodes(redis=f"127.0.0.1:{port}")
    try:
        time.sleep(1)
        root = tmp_path / "head" / "store"
        service = lose_the_head(nodes, root, whole=False)
        kept = records(root)
        told = finish(root, nodes, service)
        assert told["phase"] == "done", f"{told}\n{service.log.read_text()[-3000:]}"
        same(root, expected, kept, "head lost")
    finally:
        nodes.close()
        redis.kill()
        redis.wait()


def test_without_redis_a_new_cluster_goes_on(tmp_path: Path, expected: dict[str, dict[str, Any]]) -> None:
    """The head's state is gone, and with it the cluster; the service ends by itself and is started again."""
    nodes = raycluster.RayNodes()
    try:
        root = tmp_path / "head" / "store"
        service = lose_the_head(nodes, root, whole=True)
        kept = records(root)
        told = finish(root, nodes, service)
        assert told["phase"] == "done", f"{told}\n{service.log.read_text()[-3000:]}"
        same(root, expected, kept, "cluster lost")
    finally:
        nodes.close()
