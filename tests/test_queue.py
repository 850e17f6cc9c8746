"""The queue as its users meet it: submitting, a service in a process of its own, orders, and what is left behind."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s1sweep.errors import UserError
from s1sweep.planning import Stage
from s1sweep.policy import Capacity
from s1sweep.queue import feasible
from s1sweep.queue.service import needed
from s1sweep.queue.submission import Submissions
from s1sweep.runtime.backend import InProcessBackend
from s1sweep.runtime.scheduler import Scheduler
from s1sweep.store import Store, same_result
from tests import noop_gpu
from tests.helpers import cli
from tests.noop_stage import Noop, stage
from tests.served import CONFIG, SECRET, Served, enqueue, leaks, run, state, workers

# --- without a service


def test_a_submission_survives_writing_and_reading(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s1sweep.spec.Noop", Noop, raising=False)
    first = stage("first")
    made = enqueue(root, "one", first, stage("second", first), priority=3)
    read = Submissions(Store(root)).get(made.id)
    assert read == made


def test_orders_hold_by_their_time_and_only_for_the_owner(root: Path) -> None:
    queue, made = Submissions(Store(root)), enqueue(root, "one", stage("a"))
    with pytest.raises(UserError, match=r"belongs to 'ann', and you are 'bob'.*--admin"):
        queue.order(made, "cancel", "bob")
    queue.order(made, "pause", "ann")
    queue.order(made, "priority", "ann", 7)
    queue.order(made, "resume", "ann")
    standing = queue.standing(made)
    assert (standing.priority, standing.paused, standing.cancelled) == (7, False, None)
    queue.order(made, "cancel", "bob", admin=True)
    assert queue.standing(made).cancelled == "bob"


def test_an_unknown_sweep_is_refused_with_what_there_is(root: Path) -> None:
    enqueue(root, "budget", stage("a"))
    done = run(root, "cancel", "budgte")
    assert done.returncode == 2 and "Did you mean 'budget'?" in done.stderr and "Traceback" not in done.stderr


def test_only_what_leads_to_something_missing_is_needed() -> None:
    a = stage("a")
    b, c = stage("b", a), stage("c", a)
    d = stage("d", b)
    found = {s.id: s for s in (a, b, c, d)}
    assert needed(found, lambda s: s is d).keys() == {a.id, c.id}
    assert not needed(found, lambda s: s in (c, d))


def said(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    whole = [{"cpus": 16.0, "engines": 1, "gpu_kind": "A100", **node} for node in nodes]
    return {"cluster": "main", "host": "head", "nodes": whole, "credentials": [], **more}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpus_per_engine": 16}, "asks for 16 GPUs, which never fits: the cluster has 8 GPUs, at most 4 on a node"),
        ({"gpus_per_engine": 1, "gpu_kind": "H100"}, "asks for 1 H100, which never fits: the cluster has 0 H100"),
        ({"threads": 64}, "no node has room for 64 cores"),
    ],
)
def test_what_never_fits_is_refused_with_what_the_cluster_has(change: dict[str, Any], message: str) -> None:
    from s1sweep.planning import Plan

    plan = Plan()
    plan.add(CONFIG.cell, {})
    here = CONFIG.placement.model_copy(update=change)
    cluster = said({"name": "n0", "gpus": 4.0}, {"name": "n1", "gpus": 4.0})
    with pytest.raises(UserError, match=message):
        feasible.check(plan.stages, here, CONFIG.tracking, cluster, "s3://bucket/store")
    assert not feasible.check(plan.stages, CONFIG.placement, CONFIG.tracking, cluster, "s3://bucket/store")


def test_names_of_credentials_are_told_and_never_values() -> None:
    assert feasible.credentials({"A_KEY": "x", "PATH": "y", "HF_TOKEN": "z"}) == ["A_KEY", "HF_TOKEN"]


def test_submitting_freezes_plan_code_and_small_inputs_and_needs_no_service(root: Path, tmp_path: Path) -> None:
    mine = tmp_path / "questions.jsonl"
    mine.write_text('{"id": "q1", "question": "calc 1 a+1", "answer": "2"}\n')
    overrides = [
        "-m",
        "train=none",
        "task=file",
        "task.path=questions.jsonl",
        "task.name=mine",
        "task.grader=math",
        "name=frozen",
    ]
    done = run(root, "submit", "--json", *overrides, "tracking=none", PLANTED_API_KEY=SECRET)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert any("no service" in note for note in found["notes"])
    submission = Submissions(Store(root)).get(found["id"])
    assert submission is not None and submission.code
    assert (root / "code" / submission.code / "s1sweep" / "session.py").exists()
    (decode,) = (s for s in submission.stages.values() if s.kind == "decode")
    mine.write_text("edited")
    assert Path(decode.spec.task.path).read_text().startswith('{"id": "q1"')  # type: ignore[union-attr, arg-type]
    listed = json.loads(run(root, "queue", "--json").stdout)
    assert [row["sweep"] for row in listed["submissions"]] == ["frozen"]
    assert listed["submissions"][0]["phase"] == "queued" and not listed["services"]
    status = json.loads(run(root, "status", "frozen", "--json").stdout)
    assert status["queue"][0]["id"] == found["id"] and status["cells"] == 1
    assert leaks(root) == []


# --- with one


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("served") / "store"
    found = Served(root)
    try:
        found.until(lambda: (root / "queue/service.json").exists())
        yield found
        assert found.stop() == 0, found.log.read_text()
        assert leaks(root) == [] and SECRET not in found.log.read_text()
    finally:
        if found.process.poll() is None:
            found.kill()


def gpu_stages(name: str, n: int, seconds: float, mark: str = "") -> list[Stage]:
    return [stage(f"{name}{i}", seconds=seconds, mark=mark, kind=noop_gpu.KIND) for i in range(n)]


def blocker(name: str, go: Path) -> Stage:
    """Runs until a file is there."""
    return stage(name, mode="wait", mark=str(go), kind=noop_gpu.KIND)


@pytest.mark.slow
def test_cancelling_frees_everything_and_is_the_owners_right(service: Served) -> None:
    root = service.root
    long, shared = gpu_stages("long", 1, 600.0), stage("shared", seconds=3.0)
    mine = enqueue(root, "doomed", *long, shared, user="ann", gang=8)
    other = enqueue(root, "other", shared, stage("above", shared), user="bob")
    service.until(lambda: long[0].id in state(root, mine).running)
    refused = run(root, "cancel", "doomed", user="bob")
    assert refused.returncode == 2 and "belongs to 'ann'" in refused.stderr and "--admin" in refused.stderr
    assert state(root, mine).phase == "running"
    asked = time.monotonic()
    assert run(root, "cancel", "doomed", "--admin", user="bob").returncode == 0
    service.until(lambda: state(root, mine).phase == "cancelled", 30)
    service.until(lambda: not any("long" in name for name in workers(service)), 30)
    print(f"freed {time.monotonic() - asked:.1f} s after the order was given (the command's start included)")
    assert state(root, mine).by == "bob"
    service.until(lambda: state(root, other).phase == "done")
    next_ = enqueue(root, "next", *gpu_stages("next", 1, 0.0), user="bob", gang=8)
    service.until(lambda: state(root, next_).phase == "done")
    again = run(root, "cancel", "doomed")
    assert again.returncode == 2 and "over already (cancelled)" in again.stderr


@pytest.mark.slow
def test_pause_priority_and_resume_by_name(service: Served, tmp_path: Path) -> None:
    root, mark = service.root, tmp_path / "ran"
    block = enqueue(root, "block", blocker("block", tmp_path / "go"), gang=8)
    service.until(lambda: state(root, block).running)
    slow = enqueue(root, "slow", *gpu_stages("p", 1, 0.0, str(mark)), gang=8)
    first = enqueue(root, "first", *gpu_stages("q", 1, 0.0, str(mark)), gang=8)
    second = enqueue(root, "second", *gpu_stages("r", 1, 0.0, str(mark)), gang=8)
    assert run(root, "pause", "slow").returncode == 0
    assert run(root, "priority", "second", "5").returncode == 0
    rows = {r["sweep"]: r for r in json.loads(run(root, "queue", "--json").stdout)["submissions"]}
    assert rows["second"]["priority"] == 5 and rows["slow"]["phase"] == "paused"
    service.until(lambda: f"{second.id}: priority 5" in service.log.read_text())  # it looks once a second
    (tmp_path / "go").touch()
    service.until(lambda: state(root, first).over and state(root, second).over)
    assert mark.read_text().split() == ["r0", "q0"]
    assert not state(root, slow).over and list(state(root, slow).why.values()) == ["paused"]
    assert run(root, "resume", "slow").returncode == 0
    service.until(lambda: state(root, slow).phase == "done")


@pytest.mark.slow
def test_what_waits_says_why_and_top_and_logs_show_what_runs(service: Served, tmp_path: Path) -> None:
    root = service.root
    running = enqueue(root, "running", blocker("runs0", tmp_path / "go"), gang=8, user="ann")
    service.until(lambda: state(root, running).running)
    waits = enqueue(root, "waits", *gpu_stages("waits", 1, 0.0), gang=8, user="bob")
    service.until(lambda: state(root, waits).why)
    shown = run(root, "queue").stdout
    assert "waits for 8 H100 in one gang of 8" in shown and "8 GPUs" in shown
    top = run(root, "top").stdout
    assert "8/8" in top and "runs0" in top and "H100" in top
    lines = run(root, "logs", "running").stdout
    assert "| running runs0" in lines
    (tmp_path / "go").touch()
    followed = run(root, "logs", "-f", "running")
    assert followed.returncode == 0 and state(root, running).phase == "done"


@pytest.mark.slow
def test_infeasible_is_refused_at_once_and_a_local_run_is_sent_to_submit(service: Served) -> None:
    root = service.root
    before = sorted((root / "queue").iterdir())
    asks = ["-m", "train=none", "task=tiny_calc", "placement.gpus_per_engine=16", "placement.gpus=16"]
    done = run(root, "submit", *asks)
    assert done.returncode == 2 and "the cluster has 8 GPUs, at most 8 on a node" in done.stderr, done.stderr
    kind = run(root, "submit", *asks[:3], "placement.gpus_per_engine=1", "placement.gpu_kind=B200")
    assert kind.returncode == 2 and "GPUs there are: H100" in kind.stderr, kind.stderr
    assert sorted((root / "queue").iterdir()) == before and not (root / "code").exists(), "nothing is written"
    local = run(root, "run", "-m", "train=none", "task=tiny_calc")
    assert local.returncode == 2 and "s1sweep submit" in local.stderr


@pytest.mark.long
@pytest.mark.slow
def test_a_service_killed_at_any_moment_goes_on_to_the_same_records(root: Path, tmp_path: Path) -> None:
    shared = stage("shared", seconds=0.2)
    below = [
        [stage(f"{name}{i}", shared, seconds=0.5, kind=noop_gpu.KIND) for i in range(6)] for name in ("one", "two")
    ]
    one, two = [shared, *below[0]], [shared, *below[1], stage("bad", shared, mode="bug")]
    calm = Store(tmp_path / "calm")
    Scheduler(calm, InProcessBackend(Capacity(cpus=1, gpus=1)), CONFIG.placement).run(
        {s.id: s for s in (*one, *two)}, {}
    )
    mine, yours = enqueue(root, "one", *one, user="ann"), enqueue(root, "two", *two, user="bob")
    for after in (1, 5):  # records, when the axe falls
        killed = Served(root, "placement.cpus=2")
        killed.until(lambda after=after: sum(1 for _ in root.glob("stages/*/record.json")) >= after)
        killed.kill()
    kept = {path: path.read_bytes() for path in root.glob("stages/*/record.json")}
    last = Served(root, "placement.cpus=2", "--once")
    assert last.process.wait(timeout=240) == 0, last.log.read_text()
    assert (state(root, mine).phase, state(root, yours).phase) == ("done", "failed")
    assert all(path.read_bytes() == data for path, data in kept.items()), "what was done is not done again"
    store = Store(root)
    for s in (*one, *two[:-1]):
        a, b = store.record(s.id), calm.record(s.id)
        assert a and b and same_result(a, b)
    used, _ = Submissions(store).usage()
    assert used.keys() == {"ann", "bob"} and all(used.values()), "shares survive"


@pytest.mark.long
@pytest.mark.slow
def test_what_went_with_a_killed_service_is_told(root: Path) -> None:
    mine = enqueue(root, "mine", *gpu_stages("long", 1, 600.0), user="ann", gang=2)
    killed = Served(root, "placement.cpus=2")
    killed.until(lambda: state(root, mine).running)
    queue = Submissions(Store(root))
    killed.until(lambda: sum(used for used, _ in (queue.last_heartbeat() or {})["held"].values()) > 4)
    killed.kill()
    again = Served(root, "placement.cpus=2")
    try:
        again.until(lambda: state(root, mine).lost_seconds > 4)
        told = state(root, mine)
        assert told.gpu_seconds == told.lost_seconds < 600, "both of the attempt that fell; what runs now is not over"
    finally:
        again.kill()


@pytest.mark.slow
def test_a_real_sweep_is_submitted_and_the_client_goes(root: Path) -> None:
    """Submitted, served with the frozen code, mirrored to W&B's files; and the secret of the environment is nowhere."""
    sweep = ["-m", "train=none", "task=tiny_calc", "task.limit=4", "extrapolation=none,wait", "name=real"]
    sweep += ["method.max_thinking_tokens=16", "tracking=wandb_offline"]
    secret = {"PLANTED_API_KEY": SECRET}
    done = cli("submit", *sweep, root=root, **secret)
    assert done.returncode == 0, done.stderr
    served = cli("serve", "--once", root=root, **secret)
    assert served.returncode == 0, served.stderr
    store = Store(root)
    (row,) = json.loads(cli("queue", "--json", root=root).stdout)["submissions"]
    assert row["phase"] == "done" and row["done"] == row["stages"], row
    assert any("W&B" in line for line in row["tracking"]), row["tracking"]
    results = json.loads(cli("results", "real", "--json", root=root).stdout)
    assert len(results) == 2 and all(cell["accuracy"] is not None for cell in results)
    assert leaks(root) == [] and SECRET not in served.stderr + done.stdout
    assert store.schedulers() == {}
