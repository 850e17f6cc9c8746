"""A Ray cluster of several nodes on this machine, each a `ray start` in a network namespace of its own, with GPUs that
are only numbers. A node can be killed, or cut off. With `redis`, the head's state outlives it.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

RAY = [str(Path(sys.executable).with_name("ray"))]
_KEYS = itertools.count(17 * os.getpid())


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def ray_env() -> dict[str, str]:
    """What nodes and drivers of the cluster need alike. Dead nodes are seen soon.

    No token: a process that has had a Ray of its own stays without one for others' (RAY_AUTH_MODE is read once), and
    nobody else reaches this cluster.
    """
    from tests.helpers import ROOT

    return {
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_health_check_initial_delay_ms": "2000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "2000",
        "RAY_health_check_failure_threshold": "3",
    }


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def possible() -> bool:
    """Whether namespaces can be made here: root, and iproute2."""
    name = f"s1try{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("netns", "del", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


class RayNodes:
    """The cluster; `address` is its head's, which runs in the namespace of the tests."""

    def __init__(self, redis: str | None = None) -> None:
        self.temp = tempfile.mkdtemp(prefix="rc-", dir="/tmp")  # short: sockets lie in it
        self._key = next(_KEYS) % 10_000  # one process may have several clusters at once
        self._net, self._bridge = f"10.{64 + self._key % 128}.0", f"s1b{self._key}"
        self.host, self.port = f"{self._net}.1", free_port()
        self.address = f"{self.host}:{self.port}"
        self._redis = redis
        self.env: dict[str, str] = {}  # of all nodes
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._places: dict[str, int] = {}
        ip("link", "add", self._bridge, "type", "bridge")
        ip("addr", "add", f"{self.host}/24", "dev", self._bridge)
        ip("link", "set", self._bridge, "up")

    def head(self, cpus: int = 2) -> None:
        """Start it, or start it again."""
        more = {"RAY_REDIS_ADDRESS": self._redis} if self._redis else {}
        args = ["--head", "--port", str(self.port), "--include-dashboard=False", "--temp-dir", self.temp]
        self._start("head", [*args, "--num-cpus", str(cpus), "--num-gpus", "0"], more, self.host)

    def add(self, name: str, gpus: int = 4, kind: str = "H100", cpus: int = 4) -> None:
        """A node, with a network of its own."""
        args = ["--address", self.address, "--num-cpus", str(cpus), "--num-gpus", str(gpus)]
        args += ["--labels", f"ray.io/accelerator-type={kind}"]
        self._start(name, args, {}, *self._place(name))

    def _place(self, name: str) -> tuple[str, str]:
        """The node's address and namespace."""
        space = f"s1n{self._key}{name}"
        if name not in self._places:
            self._places[name] = number = len(self._places) + 2
            ip("netns", "add", space)
            ip("link", "add", self._wire(name), "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", self._wire(name), "master", self._bridge, "up")
            ip("-n", space, "addr", "add", f"{self._net}.{number}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")
        return f"{self._net}.{self._places[name]}", space

    def _wire(self, name: str) -> str:
        return f"s1v{self._key}{name}"

    def cut(self, name: str, off: bool = True) -> None:
        """Cut a node off from the others, or join it again. It still sees the machine's files."""
        ip("link", "set", self._wire(name), "down" if off else "up")

    def _start(self, name: str, args: list[str], env: dict[str, str], host: str, within: str | None = None) -> None:
        log = Path(self.temp) / f"{name}.log"
        whole = [*RAY, "start", *args, "--node-name", name, "--node-ip-address", host, "--disable-usage-stats"]
        whole += ["--object-store-memory", "80000000", "--block"]
        for _ in range(3):  # Ray gives its own processes 30 s to start, too few on a busy machine
            self._nodes[name] = subprocess.Popen(
                ["ip", "netns", "exec", within, *whole] if within else whole,
                env={**os.environ, **ray_env(), **self.env, **env},
                stdout=log.open("w"),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            end = time.monotonic() + 120
            while "Ray runtime started" not in log.read_text() and self._nodes[name].poll() is None:
                assert time.monotonic() < end, f"{name} did not start\n{log.read_text()}"
                time.sleep(0.2)
            if self._nodes[name].poll() is None:
                return
        raise AssertionError(f"{name} did not start\n{log.read_text()}")

    def processes(self, name: str) -> list[psutil.Process]:
        """All of a node, the command that keeps it among them."""
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._nodes[name].pid)
            return [first, *first.children(recursive=True)]
        return []

    def workers(self, names: Sequence[str]) -> list[psutil.Process]:
        """Ray's worker processes that are at work on these nodes (Ray renames them to what they run)."""
        found = []
        for name in names:
            for process in self.processes(name):
                with suppress(psutil.Error):
                    said = " ".join(process.cmdline())
                    if said.startswith("ray::") and not any(
                        name in said for name in ("IDLE", "AutoscalingCoordinator")
                    ):
                        found.append(process)
        return found

    def kill(self, name: str) -> None:
        """kill -9 of all of it at once: a machine that goes down."""
        found = self.processes(name)
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        self._nodes.pop(name).wait()
        if name == "head":  # on a machine of its own nothing would say that the cluster still runs
            Path(self.temp, "ray_current_cluster").unlink(missing_ok=True)

    def close(self) -> None:
        for name in list(self._nodes):
            self.kill(name)
        for name in self._places:
            ip("netns", "del", self._place(name)[1])
        ip("link", "del", self._bridge)
        for process in psutil.process_iter(["cmdline"]):  # what outlived its node: a worker whose parent went first
            if any(self.temp in part for part in process.info["cmdline"] or ()):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
