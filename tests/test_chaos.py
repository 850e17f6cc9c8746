"""Rounds of kill -9 at random moments: of the scheduler, or of a worker under it. `make test-long` runs them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from s1sweep.store import Record, Store, same_result
from tests.helpers import below, cli, cli_env

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

GRID = ["-m", "data=random,s1k", "extrapolation=none,wait", "task=tiny_calc", "train.steps=6", "data.size=48"]
COMMAND = ["run", *GRID, "task.limit=24", "name=chaos", "tracking=none"]
ROUNDS = int(os.environ.get("S1SWEEP_CHAOS_ROUNDS", "20"))


def records(root: Path) -> dict[str, Record]:
    store = Store(root)
    found = {name: store.record(name) for name in store.stage_ids()}
    return {name: record for name, record in found.items() if record}


def workers(pid: int) -> list[psutil.Process]:
    """Ray's worker processes below a scheduler that are at work (Ray renames them to what they run)."""
    return [process for process, said in below(pid) if said.startswith("ray::") and "IDLE" not in said]


def test_every_round_finishes_with_the_undisturbed_records(tmp_path: Path) -> None:
    calm = tmp_path / "calm" / "store"
    calm.parent.mkdir()
    assert cli(*COMMAND, root=calm).returncode == 0
    expected = records(calm)
    rng = random.Random(int(os.environ.get("S1SWEEP_CHAOS_SEED", "0")))
    for number in range(ROUNDS):
        root = tmp_path / f"round{number}" / "store"
        root.parent.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-m", "s1sweep.cli", *COMMAND],
            env=cli_env(root),
            cwd=root.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        victim, wait = rng.choice(["scheduler", "worker"]), rng.uniform(4, 40)
        time.sleep(wait)
        if victim == "scheduler":
            process.send_signal(signal.SIGKILL)
        else:
            for worker in rng.sample(found, 1) if (found := workers(process.pid)) else []:
                worker.kill()
        process.wait(timeout=600)
        kept = records(root)
        done = cli(*COMMAND, root=root)
        story = f"round {number}: {victim} killed after {wait:.1f} s"
        assert done.returncode == 0, f"{story}\n{done.stderr}"
        after = records(root)
        assert {n: after[n] for n in kept} == kept, story
        assert after.keys() == expected.keys(), story
        for name, record in after.items():
            assert same_result(record, expected[name]), f"{story}: {name}"
        print(f"{story}: {len(kept)} stages kept, {len(after) - len(kept)} run after")


def test_a_decode_worker_killed_ten_times(tmp_path: Path) -> None:
    """Each time at another moment of the decoding; what it had finished is not decoded again."""
    command = ["run", "-m", "train=none", "task=tiny_hard,tiny_calc", "sampling=sampled", "sampling.samples=8"]
    command += [
        "method=exact_length",
        "extrapolation=none,wait",
        "name=kills",
        "tracking=none",
        "placement.max_retries=99",
    ]
    calm, root = tmp_path / "calm" / "store", tmp_path / "kills" / "store"
    for folder in (calm, root):
        folder.parent.mkdir()
    assert cli(*command, root=calm, timeout=1800).returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "s1sweep.cli", *command],
        env=cli_env(root),
        cwd=root.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    rng, kills, seen = random.Random(int(os.environ.get("S1SWEEP_CHAOS_SEED", "0"))), 0, 0
    while process.poll() is None and kills < 10:
        time.sleep(0.2)
        stored = sum(p.stat().st_size for p in root.glob("traces/*/*.seg"))
        if stored > seen:  # it decodes: now at any moment
            time.sleep(rng.uniform(0, 2))
            seen = sum(p.stat().st_size for p in root.glob("traces/*/*.seg"))
            for worker in (w for w in workers(process.pid) if "_DecodeWorker" in " ".join(w.cmdline())):
                worker.kill()
                kills += 1
                print(f"kill {kills}: {seen:,} bytes of traces")
    assert process.wait(timeout=1800) == 0
    assert kills == 10, f"the decoding was over after {kills} kills: give it more to do"
    found, expected = records(root), records(calm)
    assert found.keys() == expected.keys()
    for name, record in found.items():
        assert same_result(record, expected[name]), name
