"""The doctor against planted faults: a read-only folder, a limit, a broken import, a dead address, all of them real."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from s1sweep import doctor, testbed
from s1sweep.doctor import cluster, environment, machine, mirror, plans, sources, storage
from s1sweep.doctor.base import Asked, CheckResult, without_secrets
from s1sweep.planning import pins
from s1sweep.store import Store
from tests.fakehub import commit_of, serve
from tests.helpers import cli_env, compose

HUB_MODEL = ["model.source=us/tiny", "model.revision=abc", "train=none"]


def asked(*overrides: str) -> Asked:
    return Asked(overrides, compose(*overrides))


def only(findings: Any, level: str) -> CheckResult:
    found = [finding for finding in findings if finding.level == level]
    assert len(found) == 1, found
    return found[0]


def examined(
    root: Path, *overrides: str, checks: Sequence[str], before: Callable[[], None] | None = None, **env: str
) -> dict[str, Any]:
    """The command's JSON with some checks only, in a process of its own that `before` has prepared."""
    code = (
        "import sys; from s1sweep import doctor; wanted = sys.argv.pop(1).split(',');"
        "kept = {n: c for n, c in doctor.CHECKS.items() if n in wanted}; assert len(kept) == len(wanted);"
        "doctor.CHECKS.clear(); doctor.CHECKS.update(kept); from s1sweep.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, ",".join(checks), "doctor", "--json", *overrides],
        capture_output=True,
        text=True,
        check=False,
        env=cli_env(root, **env),
        preexec_fn=before,
    )
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["can_run"] == (done.returncode == 0)
    return found


def faults(found: dict[str, Any]) -> list[dict[str, str]]:
    return [finding for finding in found["findings"] if finding["level"] == "fault"]


# --- the store


def obey_permissions() -> None:
    """Even root: give up the capability to override permission bits."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE


def test_a_read_only_root_is_found(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    found = examined(closed / "store", checks=["store"], before=obey_permissions)
    assert not found["can_run"]
    fault = faults(found)[0]
    assert fault["check"] == "store" and str(closed / "store") in fault["said"] and "placement.root" in fault["todo"]


def test_a_full_filesystem_is_found(root: Path) -> None:
    def little() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    found = examined(root, checks=["store"], before=little)
    assert "takes no more data" in faults(found)[0]["said"] and "Free some space" in faults(found)[0]["todo"]
    assert not root.exists(), "what was made for the probe is gone"


def test_a_good_root_is_left_as_it_was(root: Path) -> None:
    assert only(storage.store_is_writable(asked()), "ok").check == "store"
    assert not root.exists()
    root.mkdir()
    (root / "mine").touch()
    assert only(storage.store_is_writable(asked()), "ok")
    assert [path.name for path in root.iterdir()] == ["mine"]


def test_a_link_that_replaces_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", shutil.copyfile)  # what a filesystem without exclusive links would do
    assert "replace" in only(storage.store_is_writable(asked()), "fault").said


def test_a_disk_too_small_for_the_checkpoints_is_found(root: Path) -> None:
    fine = only(storage.disk_space(asked("data=random,longest")), "ok")
    assert "2 trainings" in fine.said
    short = only(storage.disk_space(asked("model.parameters=1e15")), "fault")
    assert "larger disk" in short.todo and "of 1 training take" in short.said


# --- libraries


def test_a_broken_torchvision_is_found(root: Path, tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    (planted / "torchvision").mkdir(parents=True)
    (planted / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    path = os.pathsep.join([str(planted), cli_env(root)["PYTHONPATH"]])
    found = examined(root, checks=["companions"], PYTHONPATH=path)
    fault = faults(found)[0]
    assert "torchvision is installed and broken" in fault["said"] and "nms does not exist" in fault["said"]
    assert "pip uninstall -y torchvision" in fault["todo"]


def test_imports_that_fail_crash_or_are_not_there_are_told_apart() -> None:
    found = environment.imported(
        {
            "json": "import json",
            "crash": "import os; os._exit(7)",
            "no_such_module": "import no_such_module",
            "broken": "raise OSError('no symbol')",
            "csv": "import csv",
        }
    )
    assert not found["json"].error and not found["csv"].error, "a crash does not keep the rest from being tried"
    assert found["crash"].error == "it ended its process with code 7"
    assert found["no_such_module"].absent and not found["broken"].absent
    assert found["broken"].error == "OSError: no symbol"


def test_only_what_the_sweep_uses_is_asked_for() -> None:
    uses = environment.needed(asked("train=none", "placement=inprocess", "tracking=none", "task=tiny_choice"))
    assert uses["vllm"] and "trl" not in uses and "ray" not in uses and "wandb" not in uses
    assert "peft" in environment.needed(asked("train=tiny_lora"))
    far = environment.needed(asked("placement.ray_address=h:1"))
    assert far["ray"] and not far["vllm"], "a driver of a cluster may be light"


# --- models, the hub


def test_a_model_that_is_not_here_is_found_offline(root: Path, tmp_path: Path) -> None:
    found = examined(root, *HUB_MODEL, checks=["hub"], HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hf"))
    fault = faults(found)[0]
    assert "us/tiny" in fault["said"] and "not here" in fault["said"] and "HF_HUB_OFFLINE is set" in fault["said"]
    assert "s1sweep prefetch" in fault["todo"]


def test_a_model_without_its_tokenizer_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(testbed.BASE, folder)
    case = asked(f"model.source={folder}", "train=none")
    assert only(sources.weights(case), "ok")
    for path in [*folder.glob("tokenizer*"), *folder.glob("vocab*")]:
        path.unlink()
    assert "is without a tokenizer" in only(sources.weights(case), "fault").said


def test_fetched_models_are_found_whole_or_not(root: Path, tmp_path: Path) -> None:
    files = {p.name: p.read_bytes() for p in testbed.BASE.iterdir()}
    home = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    with serve({("models", "us/tiny"): files}) as (address, _):
        there = {**home, "HF_ENDPOINT": address}
        pinned = ["model.source=us/tiny", f"model.revision={commit_of(files)}", "train=none"]
        before = examined(root, *pinned, checks=["hub"], **there)
        assert before["can_run"] and "; the hub has it, and the run fetches it" in before["findings"][-1]["said"]
        unpinned = examined(root, "model.source=us/tiny", "train=none", checks=["hub"], **there)
        assert "a run refuses it" in faults(unpinned)[0]["said"]
        fetch = [sys.executable, "-m", "s1sweep.cli", "prefetch", *pinned]
        subprocess.run(fetch, env=cli_env(root, **there), check=True, capture_output=True)
    after = examined(root, *pinned, checks=["hub"], **home, HF_HUB_OFFLINE="1")
    assert after["can_run"] and ": here, " in after["findings"][-1]["said"]
    next((tmp_path / "hf").rglob("*.safetensors")).unlink()
    torn = examined(root, *pinned, checks=["hub"], **home, HF_HUB_OFFLINE="1")
    said = faults(torn)[0]["said"]  # the hub's library may know by itself that something is gone
    assert "here without weights" in said or "not all of it" in said


# --- W&B, Ray


def test_wandb_online_without_a_key_is_a_warning(root: Path, tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "WANDB_BASE_URL": "http://127.0.0.1:9"}
    found = examined(root, "tracking=wandb_online", checks=["wandb"], **env)
    assert found["can_run"], "a mirror never keeps a sweep from running"
    warning = found["findings"][0]
    assert warning["level"] == "warning" and "no API key" in warning["said"] and "wandb login" in warning["todo"]


def test_a_key_is_never_shown(root: Path, tmp_path: Path) -> None:
    key = "0123456789abcdef0123456789abcdef01234567"
    env = {"HOME": str(tmp_path), "WANDB_API_KEY": key, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    found = examined(root, "tracking=wandb_online", checks=["wandb"], **env)
    assert "does not answer" in found["findings"][0]["said"]
    assert key not in json.dumps(found)


def test_secrets_are_taken_out_of_whatever_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert without_secrets("401 for hf_secret") == "401 for $HF_TOKEN"


def test_modes_of_wandb_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no mirror" in only(mirror.wandb_mode(asked("tracking=none")), "ok").said
    assert "offline" in only(mirror.wandb_mode(asked()), "ok").said
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert "no mirror" in only(mirror.wandb_mode(asked("tracking=wandb_online")), "ok").said


def test_a_cluster_that_does_not_answer_is_found(root: Path) -> None:
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = examined(root, f"placement.ray_address='ray://127.0.0.1:{port}'", checks=["ray"])
    fault = faults(found)[0]
    assert f"ray://127.0.0.1:{port} does not answer" in fault["said"] and "placement.ray_address" in fault["todo"]


def test_what_listens_answers() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        assert cluster.unreachable(f"127.0.0.1:{port}") is None
    assert cluster.unreachable(f"ray://127.0.0.1:{port}")
    assert cluster.unreachable(None) is None and cluster.unreachable("auto") is None


@pytest.mark.slow
def test_a_local_ray_starts(root: Path) -> None:
    assert "a local one has" in only(cluster.ray_starts(asked("placement.cpus=1")), "ok").said
    short = only(cluster.ray_starts(asked("placement.cpus=1", "placement.threads=2")), "fault")
    assert "placement asks for 2 CPUs" in short.said


# --- the plan, the machine, the command


def test_a_plan_that_cannot_be_is_a_fault(tmp_path: Path) -> None:
    lost = asked("task=file", "task.name=mine", "task.grader=math", f"task.path={tmp_path}/gone.jsonl")
    assert "gone.jsonl" in only(plans.planned(lost), "fault").said
    assert "4 cells" in only(plans.planned(asked("data=random,s1k", "extrapolation=none,wait")), "ok").said
    assert "this machine has" in only(plans.placed(asked("placement=8x80gb")), "fault").said


def test_a_clock_that_was_never_set_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(machine.clock(asked()), "ok")
    monkeypatch.setattr(machine.time, "time", lambda: 1000.0)
    assert "1970-01-01" in only(machine.clock(asked()), "warning").said


def test_few_open_files_are_found(root: Path) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    found = examined(root, checks=["open files"], before=few)
    assert found["can_run"] and found["findings"][0]["level"] == "warning"
    assert "ulimit -n" in found["findings"][0]["todo"]


def test_a_check_that_breaks_does_not_silence_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Asked) -> list[CheckResult]:
        raise RuntimeError("boom")

    monkeypatch.setattr("s1sweep.doctor.checks.CHECKS", {"first": broken, "python": environment.python})
    found = list(doctor.examine(asked()))
    assert [finding.level for finding in found] == ["fault", "ok"] and "boom" in found[0].said
    assert not doctor.can_run(found)


def test_damaged_pins_are_a_finding_and_no_traceback(root: Path) -> None:
    pins.add(Store(root), "model", "us/tiny", "abc")
    (root / "pins.json").write_text("{")
    found = examined(root, checks=["hub", "plan"])
    assert {fault["check"] for fault in faults(found)} == {"hub", "plan"}


@pytest.mark.slow
def test_the_testbed_can_run_here(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "s1sweep.cli", "doctor", "-m", "experiment=quickstart"],
        capture_output=True,
        text=True,
        check=False,
        env=cli_env(root),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "This sweep can run here." in done.stdout and "99 cells" in done.stdout
    said = next(line for line in done.stdout.splitlines() if line.startswith("ok       libraries"))
    assert all(name in said for name in ("torch 2", "vllm 0", "transformers 5", "trl 1"))
    assert not root.exists()
