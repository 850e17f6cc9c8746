"""The command line as its users run it. Real Ray, TRL and vLLM on the tiny model; a process of its own each time."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from s1sweep.store import Failure, Record, Store, same_result
from tests.helpers import ROOT, cli, cli_env

pytestmark = pytest.mark.slow

SMALL = ["train.steps=6", "data.size=48", "task.limit=24", "name=small"]
GRID = ["-m", "data=random,s1k", "extrapolation=none,wait", "task=tiny_calc", *SMALL]
HERE = "placement=inprocess"
ONE = ["data=s1k", "extrapolation=none", "task=tiny_calc", *SMALL, "tracking=none"]  # one cell of it


def records(root: Path) -> dict[str, Record]:
    store = Store(root)
    found = {name: store.record(name) for name in store.stage_ids()}
    return {name: record for name, record in found.items() if record}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of one undisturbed run on Ray."""
    root = tmp_path_factory.mktemp("finished") / "store"
    done = cli("run", *GRID, root=root)
    assert done.returncode == 0, done.stderr
    assert "Sweep small: 4 cells, 15 stages run, 0 reused." in done.stdout
    assert "Page: " in done.stdout and "wandb sync" in done.stdout
    return root


def test_records_tell_the_whole_story(finished: Path) -> None:
    found = records(finished)
    kinds = Counter(record.kind for record in found.values())
    assert kinds == {"pool": 1, "curate": 2, "select": 2, "train": 2, "decode": 4, "grade": 4}
    for record in found.values():
        assert record.schema_version == 1
        assert record.provenance.code["s1sweep"]
        assert record.provenance.environment["torch"]
    train = next(record for record in found.values() if record.kind == "train")
    assert "checkpoint/model.safetensors" in train.outputs
    assert not [name for name in train.outputs if name.endswith((".bin", ".pt", ".pkl"))]
    assert train.summary["steps"] == 6


def test_one_engine_served_both_checkpoints(finished: Path) -> None:
    """Loading vLLM takes seconds; the second checkpoint finds the engine warm, and must not see the first one's
    tokens.
    """
    decodes = [record for record in records(finished).values() if record.kind == "decode"]
    assert len({record.outputs["readouts.jsonl"].sha256 for record in decodes}) == 4


def test_results(finished: Path) -> None:
    cells = json.loads(cli("results", "--json", root=finished).stdout)
    assert [(c["axes"]["data"], c["axes"]["extrapolation"]) for c in cells] == [
        ("random", "none"),
        ("random", "wait"),
        ("s1k", "none"),
        ("s1k", "wait"),
    ]
    for cell in cells:
        assert cell["n"] == 24
        assert 0 <= cell["ci_low"] <= cell["accuracy"] <= cell["ci_high"] <= 1
        assert cell["mean_thinking_tokens"] >= 0
    rows = list(csv.DictReader(io.StringIO(cli("results", "--csv", root=finished).stdout)))
    assert [float(r["accuracy"]) for r in rows] == [c["accuracy"] for c in cells]
    table = cli("results", "small", root=finished).stdout
    assert "random" in table and "s1k" in table


def test_status_ls_and_explain(finished: Path) -> None:
    status = json.loads(cli("status", "--json", root=finished).stdout)
    assert status["stages"]["train"] == {"done": 2, "running": 0, "failed": 0, "waiting": 0}
    assert status["cells_done"] == 4 and status["scheduler"] == "none"
    (row,) = json.loads(cli("ls", "--json", root=finished).stdout)
    assert (row["name"], row["cells"], row["done"]) == ("small", 4, 4)
    train = next(n for n in records(finished) if n.startswith("train-tiny-s1k"))
    said = cli("explain", "train-tiny-s1k", root=finished).stdout
    assert train in said and "reused by every plan" in said and '"learning_rate"' in said
    wrong = cli("explain", "train-", root=finished)
    assert wrong.returncode == 2 and "2 stages" in wrong.stderr


def test_a_finished_sweep_reruns_with_nothing_executed(finished: Path) -> None:
    before = records(finished)
    started = time.monotonic()
    again = cli("run", *GRID, root=finished)
    assert again.returncode == 0 and "4 cells, 0 stages run, 15 reused" in again.stdout
    assert records(finished) == before
    assert time.monotonic() - started < 60  # it may not even start Ray
    assert "Loading" not in again.stderr


def test_plan_shows_what_is_reused_and_writes_nothing(finished: Path, tmp_path: Path) -> None:
    grid = [a.replace("none,wait", "none,wait,hmm") for a in GRID]
    plan = json.loads(cli("plan", *grid, "--json", root=finished).stdout)
    assert plan["cells"] == 6
    assert plan["stages"] == {"pool": 1, "curate": 2, "select": 2, "train": 2, "decode": 6, "grade": 6}
    assert plan["reused"] == {"pool": 1, "curate": 2, "select": 2, "train": 2, "decode": 4, "grade": 4}
    assert plan["engine_sessions"] == 2
    assert plan["estimate"]["train_tokens"] == 0 < plan["estimate"]["decode_tokens"]
    fresh = tmp_path / "fresh" / "store"
    fresh.parent.mkdir()
    assert cli("plan", *GRID, root=fresh).returncode == 0
    assert not list(fresh.parent.iterdir())


def test_adding_a_cell_runs_only_what_is_new_and_force_redoes(finished: Path) -> None:
    before = records(finished)
    added = cli("run", "-m", "data=s1k", "extrapolation=hmm", "task=tiny_calc", *SMALL, HERE, root=finished)
    assert added.returncode == 0 and "1 cells, 2 stages run, 5 reused" in added.stdout
    after = records(finished)
    assert {n: after[n] for n in before} == before
    assert len(after) == len(before) + 2
    assert len(json.loads(cli("results", "--json", root=finished).stdout)) == 5  # the sweep grew

    grade = next(n for n in before if n.startswith("grade"))
    forced = cli("run", *GRID, HERE, "--force", grade, root=finished)
    assert forced.returncode == 0 and "1 stages run, 14 reused" in forced.stdout
    redone = records(finished)[grade]
    assert redone.provenance != before[grade].provenance and same_result(redone, before[grade])
    assert cli("run", *GRID, HERE, "--force", "nothing-like-this", root=finished).returncode == 2


def test_in_process_backend_makes_the_same_records(finished: Path, root: Path) -> None:
    done = cli("run", *GRID, HERE, "tracking=none", root=root)
    assert done.returncode == 0, done.stderr
    expected = records(finished)
    for name, record in records(root).items():
        assert same_result(record, expected[name]), name


def test_kill_9_then_the_same_command(finished: Path, root: Path) -> None:
    """Wherever it is killed: it finishes, nothing is done twice, the records are the undisturbed run's. Here it all
    works in one process; test_chaos.py does the same to Ray, for long.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "s1sweep.cli", "run", *ONE, HERE],
        env=cli_env(root),
        cwd=root.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait = random.uniform(5, 30)
    time.sleep(wait)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = records(root)
    done = cli("run", *ONE, HERE, root=root)
    assert done.returncode == 0, (wait, done.stderr)
    after, expected = records(root), records(finished)
    assert {n: after[n] for n in kept} == kept, wait
    for name, record in after.items():
        assert same_result(record, expected[name]), (wait, name)


def test_a_killed_training_is_tried_again(finished: Path, root: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "s1sweep.cli", "run", *ONE],
        env=cli_env(root),
        cwd=root.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    killed = False
    while not killed and time.monotonic() < deadline:
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "ray::train" in " ".join(child.cmdline()) and list(root.glob("stages/train-*/*/progress.json")):
                    child.kill()
                    killed = True
        time.sleep(0.05)
    assert process.wait(timeout=300) == 0 and killed
    (train,) = root.glob("stages/train-*")
    assert sum(p.is_dir() for p in train.iterdir()) == 2
    expected = records(finished)
    for name, record in records(root).items():
        assert same_result(record, expected[name]), name


def test_what_ray_kills_for_want_of_memory_is_said_so(root: Path) -> None:
    short = {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "100"}  # every machine is full
    done = cli("run", *ONE, root=root, **short)
    assert done.returncode == 1
    assert "OutOfMemoryError" in done.stderr and "Use a machine with more memory" in done.stderr


def test_interrupt_stops_cleanly_and_says_how_to_resume(root: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "s1sweep.cli", "run", *GRID, "tracking=none"],
        env=cli_env(root),
        cwd=root.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores interrupts, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list(root.glob("stages/train-*/*/log.txt")) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "same command" in said and "Traceback" not in said
    status = json.loads(cli("status", "--json", root=root).stdout)
    assert status["scheduler"] == "none" and status["cells_done"] == 0


def test_a_failing_training_blocks_only_its_arm(root: Path) -> None:
    grid = [
        "-m",
        "train.block_size=8,256",
        "task=tiny_calc",
        "task.limit=8",
        "train.steps=2",
        "data.size=32",
        "name=half",
    ]
    done = cli("run", *grid, HERE, "tracking=none", root=root)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "1 stages failed, 2 could not run because of them" in done.stderr
    assert "cuts away every label" in done.stderr
    log = next(line.split("log: ")[1] for line in done.stderr.splitlines() if "log: " in line)
    assert "cuts away every label" in Path(log).read_text()
    cells = json.loads(cli("results", "--json", root=root).stdout)
    assert len(cells) == 2  # the failed one is a row, too
    assert cells[0]["accuracy"] is None and cells[1]["accuracy"] is not None
    again = cli("run", *grid, HERE, "tracking=none", root=root)
    assert again.returncode == 1 and "0 stages run" in again.stdout
    status = cli("status", root=root).stdout
    assert "failed train-" in status and "log:" in status


def test_retry_failed_takes_up_what_failed(root: Path) -> None:
    grid = ["train=none", "task=tiny_calc", "task.limit=4", "name=retry", "tracking=none", "placement=inprocess"]
    plan = cli("run", *grid, "task.limit=2", root=root)
    assert plan.returncode == 0, plan.stderr
    grade = next(n for n in records(root) if n.startswith("grade"))
    Store(root).withdraw(grade)
    Store(root).mark_failed(grade, Failure(kind="bug", message="a failure from before"))
    again = cli("run", *grid, "task.limit=2", root=root)
    assert again.returncode == 1 and "a failure from before" in again.stderr and "--retry-failed" in again.stderr
    mended = cli("run", "--retry-failed", *grid, "task.limit=2", root=root)
    assert mended.returncode == 0 and "1 stages run" in mended.stdout


def test_a_searching_sweeper_gets_objectives_and_one_session(root: Path) -> None:
    path = os.pathsep.join([str(ROOT / "tests/plugins"), str(ROOT)])
    arguments = ["-m", "hydra/sweeper=climb", "train=none", "task=tiny_calc", "task.limit=30", "name=climb"]
    done = cli("run", *arguments, "placement=inprocess", "tracking=none", root=root, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    seen = [line.split("objective=")[1] for line in done.stdout.splitlines() if line.startswith("climb")]
    cells = json.loads(cli("results", "climb", "--json", root=root).stdout)
    assert len(seen) == len(cells) >= 2
    assert [float(v) for v in seen] == [c["accuracy"] for c in cells]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "data=randm"], ["data/randm", "random"]),
        (["run", "data.size=100000"], ["data.size=100000", "data.size<="]),
        (["run", "task.grader=null"], ["task.grader=null"]),
        (["run", "data=random,s1k"], ["-m"]),
        (["run", "-m", "placement.threads=1,2"], ["placement is not an axis"]),
        (["run", "placement=gpu"], ["placement.gpus=1", "this machine has 0"]),
        (["run", "placement.gpus_per_engine=2"], ["2 GPUs", "placement.gpus=0"]),
        (["run", "placement.threads=64"], ["64 CPUs"]),
        (["run", "placement=inprocess", "placement.train_workers=2"], ["placement.train_workers=2"]),
        (["run", "placement.root=/proc/nowhere"], ["placement.root='/proc/nowhere'", "cannot be written"]),
        (["run", "--no-such-option"], ["--no-such-option"]),
        (["results", "none-such"], ["No sweep"]),
        (["explain", "train-x"], ["No stage 'train-x'"]),
        (["status", "--no-such-option"], ["--no-such-option"]),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_2(arguments: list[str], words: list[str], root: Path) -> None:
    done = cli(*arguments, root=root, apart=arguments == ["run", "data=randm"])  # the others need no second of start-up
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert not list(root.glob("stages/*")) and not list(root.glob("sweeps/*"))
