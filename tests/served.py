"""A queue's service in a process of its own, and submissions of stages that do nothing, for tests."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from s1sweep.planning import Stage
from s1sweep.queue.submission import State, Submission, Submissions, new_id
from s1sweep.store import Store
from tests.helpers import below, cli_env, compose

CONFIG = compose("train=none", "placement.gpus=8", "placement.gpus_per_train_worker=1", "tracking=none")[0]
SERVE = ["placement=laptop", "placement.gpus=8", "placement.cpus=16", "placement.gpu_kind=H100"]
SECRET = "planted-4f9c2d71e8b350a6"


def enqueue(root: Path, sweep: str, *stages: Stage, user: str = "ann", priority: int = 0, gang: int = 1) -> Submission:
    """A submission as `submit` writes it, of stages that do nothing."""
    store, now = Store(root), time.time()
    submission = Submission(
        id=new_id(sweep, [sweep], now),
        sweep=sweep,
        user=user,
        host="here",
        submitted=now,
        priority=priority,
        command=(sweep,),
        placement=CONFIG.placement.model_copy(update={"root": str(root), "train_workers": gang, "gpu_kind": "H100"}),
        tracking=CONFIG.tracking,
        stages={s.id: s for s in stages},
    )
    Submissions(store).add(submission)
    return submission


def run(root: Path, *arguments: str, user: str = "ann", **env: str) -> subprocess.CompletedProcess[str]:
    """The command, as that user, in a world that knows stages which do nothing."""
    return subprocess.run(
        [sys.executable, "-m", "tests.noop_cli", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=cli_env(root, LOGNAME=user, USER=user, **env),
        cwd=root.parent,
    )


class Served:
    """A service of a store, in a process of its own."""

    def __init__(self, root: Path, *arguments: str, on: Sequence[str] = SERVE, **env: str) -> None:
        self.root = root
        self.log = root.parent / "serve.log"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.noop_cli", "serve", *on, *arguments],
            env=cli_env(root, PLANTED_API_KEY=SECRET, **env),
            cwd=root.parent,
            stdout=self.log.open("a"),
            stderr=subprocess.STDOUT,
        )

    def until(self, true: Callable[[], Any], seconds: float = 400) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert self.process.poll() is None or true(), self.log.read_text()
            assert time.monotonic() < end, f"it never came true\n{self.log.read_text()}"
            time.sleep(0.1)

    def kill(self) -> None:
        """kill -9, of it and of what it leaves of Ray: a machine that goes down."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for process in below:
            if process.is_running():
                process.kill()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def state(root: Path, submission: Submission) -> State:
    return Submissions(Store(root)).state(submission)


def workers(service: Served) -> list[str]:
    """What the service's Ray workers are at."""
    return [said for _, said in below(service.process.pid) if said.startswith("ray::") and "IDLE" not in said]


def leaks(root: Path) -> list[Path]:
    """Files anywhere below the root with the planted secret in them."""
    return [p for p in root.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]
