"""What each launcher would submit: golden texts, the schemas of those who read them, and refusals."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from s1sweep import launchers
from s1sweep.compose import launch_config
from s1sweep.errors import UserError
from s1sweep.launchers import kuberay, ray_job, skypilot
from s1sweep.launchers.base import check_placement
from s1sweep.spec.launch import KubeRayLaunch, Launch, RayJobLaunch, SkyPilotLaunch
from tests.helpers import ROOT, cli

GOLDEN = ROOT / "tests/golden/launchers"
CRDS = ROOT / "tests/data/crds"
RUN = ("s1sweep", "run", "-m", "data=random,diverse", "placement.ray_address=auto")

# name -> overrides, command; the text is in tests/golden/launchers/NAME.
CASES: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "slurm.sh": (["launcher=slurm", "placement.root=/shared/store"], ()),
    "slurm_16xh100.sh": (
        [
            *("launcher=slurm", "placement=slurm_16xh100", "placement.root=/shared/store", "launcher.nodes=2"),
            *("launcher.gpus_per_node=8", "launcher.cpus_per_node=96", "launcher.memory_gb=1000"),
            *("launcher.account=lab", "launcher.partition=gpu", "launcher.qos=high", "launcher.constraint=ib"),
            *("launcher.interface=ib0", "launcher.time_limit=1-12:00:00", "launcher.args=[--exclusive]"),
            *("launcher.secrets=[WANDB_API_KEY]", "launcher.env={HF_HOME: '/shared/hf home'}"),
            "launcher.setup=['source /shared/.venv/bin/activate']",
        ],
        RUN,
    ),
    "slurm_array.sh": (
        ["launcher=slurm", "placement.root=/shared/store", "launcher.array=0-3%2", "launcher.requeue=false"],
        ("s1sweep", "run", "-m", "data.seed={task}", "name=it's $HOME"),
    ),
    "kuberay.yaml": (["launcher=kuberay", "launcher.image=lab/s1sweep:cuda", "launcher.volume_claim=store"], ()),
    "kuberay_kueue.yaml": (
        [
            *("launcher=kuberay", "launcher.image=lab/s1sweep:cuda", "launcher.volume_claim=store"),
            *("launcher.namespace=lab", "launcher.queue=team", "launcher.priority_class=high", "launcher.nodes=2"),
            *("launcher.gpus_per_node=8", "launcher.gpu_kind=NVIDIA-H100-80GB-HBM3", "launcher.cpus_per_node=96"),
            *(
                "launcher.secrets=[WANDB_API_KEY,HF_TOKEN]",
                "launcher.secret_name=s1sweep",
                "launcher.deadline_seconds=86400",
            ),
            *("launcher.node_selector={pool: train}", "launcher.service_account=runner"),
        ],
        RUN,
    ),
    "skypilot.yaml": (["launcher=skypilot", "launcher.gpus_per_node=1", "launcher.gpu_kind=L4"], ()),
    "skypilot_2x8.yaml": (
        [
            *("launcher=skypilot", "launcher.nodes=2", "launcher.gpus_per_node=8", "launcher.gpu_kind=H100"),
            *("launcher.cloud=aws", "launcher.region=us-east-1", "launcher.memory_gb=500", "launcher.spot=false"),
            *(
                "launcher.file_mounts={/store: 's3://bucket'}",
                "launcher.secrets=[WANDB_API_KEY]",
                "launcher.env={A: b c}",
            ),
            "launcher.image='docker:lab/s1sweep:cuda'",
        ],
        RUN,
    ),
    "ray_job.yaml": (
        ["launcher=ray_job", "placement.root=/shared/store", "launcher.secrets=[WANDB_API_KEY]", "launcher.env={A: b}"],
        RUN,
    ),
}


def made(name: str) -> tuple[Any, tuple[str, ...]]:
    overrides, command = CASES[name]
    launch = launch_config(overrides).launcher
    return launch, command or RUN


@pytest.mark.parametrize("name", CASES)
def test_what_is_submitted_is_the_golden_text(name: str) -> None:
    text = launchers.render(*made(name))
    if os.environ.get("UPDATE_GOLDEN"):
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith(".sh")])
def test_scripts_are_bash(name: str) -> None:
    done = subprocess.run(
        ["bash", "-n"], input=launchers.render(*made(name)), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_reaches_the_program_as_it_was_given() -> None:
    """Whatever the command's arguments hold, bash gives back the same words; only {task} is replaced."""
    words = ("printf", "%s\\n", "a b", "it's", '"$HOME"', "`id`", "{task}", "\\", "*", "seed={task}.{task}")
    launch = launch_config(["launcher=slurm", "placement.root=/s", "launcher.array=0-3"]).launcher
    header = launchers.render(launch, words).split("set -euo pipefail")[0]
    script = header + '"${command[@]}"\n'
    env = {**os.environ, "SLURM_ARRAY_TASK_ID": "2"}
    done = subprocess.run(["bash"], input=script, capture_output=True, text=True, check=True, env=env)
    assert done.stdout.splitlines() == [word.replace("{task}", "2") for word in words[2:]]


# --- those who read it -----------------------------------------------------------------------------------------------


def strict(schema: Any) -> Any:
    """A CRD's schema that refuses unknown fields, as the API server does under strict validation."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: strict(part) for key, part in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        out = {"type": ["integer", "string"]}
    elif isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        out.setdefault("additionalProperties", False)
    return out


def crd(kind: str, version: str) -> jsonschema.Draft202012Validator:
    kept = json.loads(gzip.decompress((CRDS / f"{kind}.json.gz").read_bytes()))
    schema = strict(kept["versions"][version])
    # ObjectMeta is the API server's own: its fields are not in a CRD.
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", ["kuberay.yaml", "kuberay_kueue.yaml"])
def test_the_manifest_is_a_rayjob(name: str) -> None:
    manifest = yaml.safe_load(launchers.render(*made(name)))
    assert [error.message for error in crd("rayjob", "v1").iter_errors(manifest)] == []
    assert manifest == kuberay.manifest(*made(name))


def test_the_schema_would_refuse_a_wrong_manifest() -> None:
    manifest = kuberay.manifest(*made("kuberay.yaml"))
    manifest["spec"]["shutdownAfterJobFinish"] = True
    manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"] = "2"
    assert len(list(crd("rayjob", "v1").iter_errors(manifest))) == 2


def test_kueue_admits_it() -> None:
    """A job that Kueue is to start is born suspended, carries its queue, and leaves pod priority to Kueue."""
    manifest = kuberay.manifest(*made("kuberay_kueue.yaml"))
    labels = manifest["metadata"]["labels"]
    assert labels == {"kueue.x-k8s.io/queue-name": "team", "kueue.x-k8s.io/priority-class": "high"}
    assert manifest["spec"]["suspend"] is True and manifest["spec"]["shutdownAfterJobFinishes"] is True
    groups = manifest["spec"]["rayClusterSpec"]
    pods = [groups["headGroupSpec"]["template"], groups["workerGroupSpecs"][0]["template"]]
    assert not any("priorityClassName" in pod["spec"] for pod in pods)
    plain = launch_config([*CASES["kuberay_kueue.yaml"][0], "launcher.queue=null"]).launcher
    assert isinstance(plain, KubeRayLaunch)
    pod = kuberay.manifest(plain, RUN)["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    assert pod["spec"]["priorityClassName"] == "high"


def test_the_queue_in_the_docs_is_kueues() -> None:
    """The LocalQueue and the priority class that the page tells an admin to make are valid."""
    page = (ROOT / "docs/launchers/kuberay.md").read_text()
    found = [one for block in re.findall(r"```yaml\n(.*?)```", page, re.S) for one in yaml.safe_load_all(block)]
    kinds = {"LocalQueue": "localqueue", "WorkloadPriorityClass": "workloadpriorityclass"}
    assert {one["kind"] for one in found} >= set(kinds)
    for one in found:
        if one["kind"] in kinds:
            version = one["apiVersion"].split("/")[1]
            assert [error.message for error in crd(kinds[one["kind"]], version).iter_errors(one)] == []


@pytest.mark.parametrize("name", ["skypilot.yaml", "skypilot_2x8.yaml"])
def test_skypilots_parser_takes_the_task(name: str, tmp_path: Path) -> None:
    sky = pytest.importorskip("sky", reason="SkyPilot is not installed: its own parser is not asked")
    file = tmp_path / "task.yaml"
    launch, command = made(name)
    # Secrets come with `sky --secret NAME`; a task whose secrets have no value yet is refused without them.
    values = [(key, "value") for key in skypilot.task(launch, command)["secrets"]]
    file.write_text(launchers.render(launch, command).replace("s3://bucket", "s3://bucket-of-the-lab"))
    with file.open() as f:
        task = sky.Task.from_yaml_config(yaml.safe_load(f), secrets_overrides=values)
    assert task.num_nodes == launch.nodes
    (resources,) = task.resources
    assert resources.use_spot is launch.spot and resources.accelerators == {launch.gpu_kind: launch.gpus_per_node}
    assert shlex.join(command) in task.run


def test_the_run_script_of_skypilot_is_bash() -> None:
    launch, command = made("skypilot_2x8.yaml")
    assert isinstance(launch, SkyPilotLaunch)
    done = subprocess.run(["bash", "-n"], input=skypilot.task(launch, command)["run"], text=True, check=False)
    assert done.returncode == 0


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["launcher=slum"], "slurm"),
        (["launcher.nods=2"], "launcher.nodes"),
        (["launcher.nodes=0"], "launcher.nodes=0: input should be greater than or equal to 1"),
        (["launcher.time_limit=soon"], "launcher.time_limit='soon'"),
        (["launcher.partition='a b'"], "launcher.partition"),
        (["launcher=kuberay"], "launcher.image has no value. Give launcher.image=..."),
        (
            ["launcher=kuberay", "launcher.image=i", "launcher.volume_claim=v", "launcher.queue=My_Queue"],
            "launcher.queue",
        ),
        (["launcher.nodes=1,2"], "several values"),
    ],
)
def test_a_wrong_field_is_named(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        launch_config(overrides)


def ray_launch(**fields: Any) -> Launch:
    return launch_config(["launcher=ray_job", "placement.root=/s"]).launcher.model_copy(update=fields)


def test_no_secret_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    with pytest.raises(UserError, match=r"launcher\.secrets=\[MY_TOKEN\]"):
        launchers.render(ray_launch(env={"MY_TOKEN": "x"}), RUN)
    for launch, command in [
        (ray_launch(), (*RUN, "key=0123456789abcdef")),
        (ray_launch(env={"A": "0123456789abcdef"}), RUN),
        (ray_launch(setup=("export A=0123456789abcdef",)), RUN),
    ]:
        with pytest.raises(UserError, match="holds the value of WANDB_API_KEY") as refused:
            launchers.render(launch, command)
        assert "0123456789abcdef" not in str(refused.value)
    for name in CASES:
        assert "0123456789abcdef" not in launchers.render(*made(name))


def test_a_secret_without_a_value_is_missed_at_submission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    launch, command = made("slurm_16xh100.sh")
    with pytest.raises(UserError, match="WANDB_API_KEY not set here"):
        launchers.submit(launch, command)


def test_secrets_of_kubernetes_need_their_secret() -> None:
    launch = made("kuberay.yaml")[0].model_copy(update={"secrets": ("HF_TOKEN",)})
    with pytest.raises(UserError, match=r"launcher\.secret_name"):
        launchers.render(launch, RUN)


def test_gpus_the_launch_does_not_ask_for() -> None:
    config = launch_config(["placement=slurm_16xh100", "placement.root=/s", "launcher.nodes=2"])
    with pytest.raises(UserError, match=r"counts on 16 GPUs, the launch asks for 2 x 0 = 0"):
        check_placement(config.launcher, config.placement)
    config = launch_config(
        ["placement=slurm_16xh100", "placement.root=/s", "launcher.nodes=2", "launcher.gpus_per_node=8"]
    )
    check_placement(config.launcher, config.placement)


@pytest.mark.parametrize(
    ("name", "program"), [("slurm.sh", "sbatch"), ("kuberay.yaml", "kubectl"), ("skypilot.yaml", "sky")]
)
def test_a_missing_program_is_named(name: str, program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    launch, command = made(name)
    if name == "slurm.sh":
        launch = launch.model_copy(update={"shared_dir": str(tmp_path)})
    with pytest.raises(UserError, match=rf"^{program} is not on this machine's PATH\. \w+"):
        launchers.submit(launch, command)


def test_dry_run_prints_what_would_be_submitted_and_leaves_nothing(root: Path) -> None:
    overrides, command = CASES["ray_job.yaml"]
    done = cli("launch", "ray_job", *overrides[1:], "--dry-run", "--", *command, root=root)
    assert (done.returncode, done.stdout) == (0, (GOLDEN / "ray_job.yaml").read_text()), done.stderr
    done = cli("launch", "slurm", "--dry-run", "--", *command, root=root)
    assert f"export S1SWEEP_ROOT={root}" in done.stdout and not root.exists()
    done = cli("launch", "slurm", "--dry-run", root=root)
    assert done.returncode == 0 and "s1sweep serve" in done.stdout, "without a command it serves the queue"
    done = cli("launch", "slurm", "launcher.nodes=x", "--dry-run", "--", *command, root=root)
    assert done.returncode == 2 and "launcher.nodes='x'" in done.stderr and "Traceback" not in done.stderr


# --- the Jobs API, for real ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A head with its dashboard and a token, on ports of its own: (address, the environment of who may talk to it)."""
    pytest.importorskip("aiohttp_cors", reason="ray[default] is not installed: no Jobs API")
    temp = Path("/tmp") / f"s1j-{os.getpid()}"
    token = tmp_path_factory.mktemp("auth") / "token"
    token.write_text("0f" * 32)
    auth = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
    auth["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"
    port = 28000 + os.getpid() % 1000 * 4
    argv = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head"),
        *(f"--port={port}", f"--dashboard-port={port + 1}"),
        *(f"--ray-client-server-port={port + 2}", f"--dashboard-agent-listen-port={port + 3}", "--num-cpus=1"),
        *("--object-store-memory=100000000", "--include-dashboard=true", f"--temp-dir={temp}", "--block"),
    ]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    head = subprocess.Popen(
        argv, env={**os.environ, **auth, "PATH": path, "PYTHONPATH": _path()}, stdout=subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{port + 1}", auth
    finally:
        head.terminate()
        head.wait(60)
        subprocess.run(["rm", "-rf", str(temp)], check=False)


def _path() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.mark.slow
@pytest.mark.long  # a head with its dashboard wants a quiet machine
def test_a_job_on_a_running_cluster(dashboard: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitted, seen, stopped; the environment arrives; a secret that the cluster lacks stops it with its name."""
    address, auth = dashboard
    for name, value in auth.items():
        monkeypatch.setenv(name, value)
    launch = ray_launch(address=address, env={"PLANTED": "a b"})
    assert isinstance(launch, RayJobLaunch)
    ask = "ray.init('auto'); print('saw', os.environ['PLANTED'], ray.get(ray.remote(lambda: 6 * 7).remote()))"
    program = f"import os, ray; {ask}"
    deadline = time.monotonic() + 180
    while True:
        try:
            job = launchers.submit(launch, (sys.executable, "-c", program))
            break
        except UserError:
            assert time.monotonic() < deadline
            time.sleep(1)
    assert _ended(launch, job) == "SUCCEEDED", ray_job.logs(launch, job)
    assert "saw a b 42" in ray_job.logs(launch, job)

    lacking = launch.model_copy(update={"secrets": ("PLANTED_KEY",)})
    job = launchers.submit(lacking, ("true",))
    assert _ended(launch, job) == "FAILED" and "PLANTED_KEY: not set on this cluster" in ray_job.logs(launch, job)

    job = launchers.submit(launch, ("sleep", "600"))
    ray_job.stop(launch, job)
    assert _ended(launch, job) == "STOPPED"

    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(UserError, match=r"would win over launcher\.address"):
        ray_job.status(launch, job)


def _ended(launch: RayJobLaunch, job: str) -> str:
    deadline = time.monotonic() + 180
    while (state := ray_job.status(launch, job)) in ("PENDING", "RUNNING") and time.monotonic() < deadline:
        time.sleep(0.5)
    return state


@pytest.mark.slow
def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    pytest.importorskip("aiohttp")
    with pytest.raises(UserError, match=r"launcher\.address=http://127\.0\.0\.1:9 refused"):
        launchers.submit(ray_launch(address="http://127.0.0.1:9"), RUN)
