"""A real Slurm runs the rendered script: Ray across two nodes, the time limit, a cancel, arrays, refusals."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from s1sweep import launchers
from s1sweep.compose import launch_config
from s1sweep.errors import UserError
from s1sweep.spec.launch import SlurmLaunch
from s1sweep.store import Store, same_result
from tests.helpers import ROOT, cli
from tests.slurm import MISSING, Slurm, slurm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,  # real clusters take their minutes
    pytest.mark.skipif(bool(MISSING), reason=f"no Slurm on this host ({', '.join(MISSING)}): slurm-wlm and munge"),
]

# Sees the cluster as a user's program would, and what an onlooker on the host would see of the token.
PROBE = """
import json, os, stat, sys
from pathlib import Path
import ray
ray.init("auto")
token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
@ray.remote(num_cpus=1)
def where():
    import time
    time.sleep(1)
    return ray.get_runtime_context().get_node_id()
def argv(p):
    try:
        return p.read_bytes()
    except OSError:
        return b""
shown = [argv(p) for p in Path("/proc").glob("[0-9]*/cmdline")]
seen = {
    "nodes": sorted(set(ray.get([where.options(scheduling_strategy="SPREAD").remote() for _ in range(4)]))),
    "mode": oct(stat.S_IMODE(token.stat().st_mode)),
    "shown": any(token.read_bytes() in one for one in shown),
    "umask": oct(os.umask(0o22)),
    "address": os.environ["RAY_ADDRESS"],
    "secret": os.environ.get("PLANTED_KEY"),
    "other": os.environ.get("NOT_ASKED_FOR"),
}
Path(sys.argv[1]).write_text(json.dumps(seen))
print("token", token)
"""

# Ends by itself only when it is started a second time.
TWICE = """
import signal, sys, time
from pathlib import Path
import ray
ray.init("auto")
story = Path(sys.argv[1])
def note(word):
    with story.open("a") as f:
        f.write(word + "\\n")
def asked(*_):
    note("asked")
    sys.exit(3)
signal.signal(signal.SIGTERM, asked)
again = story.exists()
note("started")
time.sleep(0 if again else 600)
note("done")
"""


@pytest.fixture(scope="module")
def real() -> Iterator[Slurm]:
    # Munge wants a short path, as every socket does.
    folder = Path(tempfile.mkdtemp(prefix="s1slurm-", dir="/tmp"))
    try:
        with slurm(folder) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def at(real: Slurm, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    for name, value in {**real.env, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}.items():
        monkeypatch.setenv(name, value)
    return real


def launch(folder: Path, *overrides: str) -> SlurmLaunch:
    """A launch as small as two cores want it."""
    small = "launcher.ray_args=['--object-store-memory=100000000']"
    made = launch_config(
        [
            *(
                "launcher=slurm",
                f"placement.root={folder / 'store'}",
                "launcher.cpus_per_node=1",
                small,
                "launcher.dashboard=false",
            ),
            *("launcher.time_limit=10", "launcher.wait_seconds=120", f"launcher.env.PYTHONPATH={ROOT}", *overrides),
        ]
    ).launcher
    assert isinstance(made, SlurmLaunch)
    return made


def log(launch: SlurmLaunch, job: str) -> str:
    return Path(launch.shared_dir, f"{job}.log").read_text()


def left_behind(job: str) -> list[str]:
    """Folders and processes of a job's Ray."""
    mark = f"/s1s-{job}."
    found = [str(path) for path in Path("/tmp").glob(f"s1s-{job}.*")]
    for process in psutil.process_iter(["cmdline"]):
        if mark in " ".join(process.info["cmdline"] or []):
            found.append(" ".join(process.info["cmdline"])[:200])
    return found


def test_one_cluster_across_two_nodes(at: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_KEY", "planted-value-1234")
    monkeypatch.setenv("NOT_ASKED_FOR", "1")
    asked = launch(tmp_path, "launcher.nodes=2", "launcher.secrets=[PLANTED_KEY]")
    (tmp_path / "probe.py").write_text(PROBE)
    job = launchers.submit(asked, ("python", str(tmp_path / "probe.py"), str(tmp_path / "seen.json")))
    assert at.wait(job, 150, "COMPLETED", "FAILED", "TIMEOUT") == "COMPLETED", log(asked, job)
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert len(seen["nodes"]) == 2
    assert seen["address"].endswith(f":{20000 + int(job) % 1200 * 10}")
    assert (seen["mode"], seen["shown"], seen["umask"]) == ("0o600", False, "0o22")
    assert (seen["secret"], seen["other"]) == ("planted-value-1234", None)
    assert "2 machines, 2 CPUs" in log(asked, job)
    token = Path(log(asked, job).split("token ")[1].split()[0])
    assert not token.exists() and token.parent.stat().st_mode & 0o077 == 0
    assert left_behind(job) == []
    written = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert sum("planted-value-1234" in text for text in written) == 1  # the probe's own file


def test_an_array_gives_each_task_a_cluster(at: Slurm, tmp_path: Path) -> None:
    """Two clusters at once on one host; each task's command has its number and is told from its neighbour."""
    asked = launch(tmp_path, "launcher.array=0-1")
    (tmp_path / "probe.py").write_text(PROBE)
    job = launchers.submit(asked, ("python", str(tmp_path / "probe.py"), str(tmp_path / "seen-{task}.json")))
    for task in ("0", "1"):
        state = at.wait(f"{job}_{task}", 150, "COMPLETED", "FAILED")
        assert state == "COMPLETED", log(asked, f"{job}_{task}")
    seen = [json.loads((tmp_path / f"seen-{task}.json").read_text()) for task in (0, 1)]
    assert [len(one["nodes"]) for one in seen] == [1, 1]
    assert seen[0]["address"] != seen[1]["address"] and seen[0]["nodes"] != seen[1]["nodes"]


def test_a_failed_command_fails_the_job(at: Slurm, tmp_path: Path) -> None:
    asked = launch(tmp_path)
    job = launchers.submit(asked, ("bash", "-c", "exit 7"))
    assert at.wait(job, 90, "COMPLETED", "FAILED") == "FAILED"
    assert at.field(job, "ExitCode") == "7:0" and at.field(job, "Restarts") == "0"


def test_a_cancelled_job_stays_cancelled(at: Slurm, tmp_path: Path) -> None:
    """scancel sends the batch script TERM: the command is told, nothing is queued again, nothing stays."""
    asked = launch(tmp_path)
    (tmp_path / "twice.py").write_text(TWICE)
    job = launchers.submit(asked, ("python", str(tmp_path / "twice.py"), str(tmp_path / "story")))
    assert at.wait(job, 30, "RUNNING") == "RUNNING"
    until((tmp_path / "story").exists, 120)
    at.call("scancel", job)
    assert at.wait(job, 60, "CANCELLED") == "CANCELLED"
    for _ in range(60):
        if not left_behind(job):
            break
        time.sleep(0.5)
    assert left_behind(job) == []
    assert "queueing" not in log(asked, job) and at.field(job, "Restarts") == "0"


def test_machines_that_do_not_join(at: Slurm, tmp_path: Path) -> None:
    """The time is bounded, and the message has the numbers and where to look."""
    asked = launch(tmp_path, "launcher.nodes=2", "launcher.wait_seconds=15")
    script = launchers.render(asked, ("true",)).replace("ray_node worker", "sleep 60; ray_node worker")
    (tmp_path / "script.sh").write_text(script)
    (tmp_path / "store" / "launch").mkdir(parents=True)
    job = at.call("sbatch", "--parsable", str(tmp_path / "script.sh"))
    assert at.wait(job, 90, "FAILED", "COMPLETED") == "FAILED"
    assert "1 of 2 machines joined within 15 s" in log(asked, job) and f"{job}.0" in log(asked, job)


def test_slurms_refusal_is_shown_with_what_to_change(at: Slurm, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)sbatch refused:.*invalid partition.*launcher\.partition"):
        launchers.submit(launch(tmp_path, "launcher.partition=nope"), ("true",))
    with pytest.raises(UserError, match=r"(?s)sbatch refused:.*Invalid feature.*sinfo"):
        launchers.submit(launch(tmp_path, "launcher.constraint=nope"), ("true",))


def until(true: Callable[[], bool], seconds: float) -> None:
    for _ in range(int(seconds * 2)):
        if true():
            return
        time.sleep(0.5)
    raise AssertionError("it never came about")


def test_the_time_limit_queues_the_job_again(at: Slurm, tmp_path: Path) -> None:
    """Slurm's own signal, half a minute to a minute before the limit; the second start finishes."""
    asked = launch(tmp_path, "launcher.time_limit=2", "launcher.grace_seconds=30")
    (tmp_path / "twice.py").write_text(TWICE)
    job = launchers.submit(asked, ("python", str(tmp_path / "twice.py"), str(tmp_path / "story")))
    assert at.wait(job, 400, "COMPLETED", "FAILED", "TIMEOUT") == "COMPLETED", log(asked, job)
    assert (tmp_path / "story").read_text().split() == ["started", "asked", "started", "done"]
    assert at.field(job, "Restarts") == "1" and f"queueing job {job} again" in log(asked, job)


@pytest.mark.timeout(2400)
def test_a_sweep_cut_by_the_time_limit_ends_with_the_same_records(at: Slurm, tmp_path: Path) -> None:
    """Cut in the midst of its trainings, however fast this machine is: the limit is lowered when one has begun."""
    grid = ("run", "-m", "data=random,s1k,longest,diverse", "data.size=256", "task=tiny_calc", "task.limit=24")
    command = (*grid, "name=cut", "tracking=none", "placement.checkpoint_every=4")
    (tmp_path / "calm").mkdir()
    calm = Store(tmp_path / "calm" / "store")
    done = cli(*command, "placement=inprocess", root=calm.root, timeout=1000)
    assert done.returncode == 0, done.stderr
    asked = launch(tmp_path, "launcher.time_limit=60", "launcher.grace_seconds=30", "launcher.cpus_per_node=2")
    there = Store(asked.root)
    job = launchers.submit(asked, ("python", "-m", "s1sweep.cli", *command, "placement.ray_address=auto"))
    until(lambda: any(there.saved_step(name) for name in there.stage_ids()), 600)
    hours, minutes, _ = at.field(job, "RunTime").split(":")
    at.call("scontrol", "update", f"JobId={job}", f"TimeLimit={60 * int(hours) + int(minutes) + 2}")
    until(lambda: at.field(job, "Restarts") == "1", 240)
    at.call("scontrol", "update", f"JobId={job}", "TimeLimit=60")
    assert at.wait(job, 1000, "COMPLETED", "FAILED", "TIMEOUT") == "COMPLETED", log(asked, job)
    assert at.field(job, "Restarts") == "1" and f"queueing job {job} again" in log(asked, job)
    kept = [{name: found for name in s.stage_ids() if (found := s.record(name))} for s in (calm, there)]
    assert kept[0].keys() == kept[1].keys() and kept[0]
    assert all(same_result(record, kept[1][name]) for name, record in kept[0].items())
