"""SkyPilot: a task whose machines make a Ray cluster; as a managed job it is started again after a machine is taken.

The cluster is our own and not SkyPilot's: another port, another folder, and never `ray stop`, which would end both.
"""

from __future__ import annotations

import re
import secrets
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s1sweep.launchers.base import call, environment, ray_resources, to_yaml, wait_for
from s1sweep.spec.launch import SkyPilotLaunch

_PORT = 6479
# The cluster's token, made at submission. It goes as a secret: the task names it.
_TOKEN = "RAY_AUTH_TOKEN"


def render(launch: SkyPilotLaunch, command: Sequence[str]) -> str:
    """The task as YAML."""
    return to_yaml(task(launch, command))


def task(launch: SkyPilotLaunch, command: Sequence[str]) -> dict[str, Any]:
    resources: dict[str, Any] = {"cpus": f"{launch.cpus_per_node}+", "use_spot": launch.spot}
    if launch.cloud or launch.region:
        resources["infra"] = "/".join([launch.cloud or "*", *([launch.region] if launch.region else [])])
    if launch.gpus_per_node:
        resources["accelerators"] = f"{launch.gpu_kind or 'H100'}:{launch.gpus_per_node}"
    if launch.memory_gb:
        resources["memory"] = f"{launch.memory_gb}+"
    if launch.image:
        resources["image_id"] = launch.image
    if launch.disk_gb:
        resources["disk_size"] = launch.disk_gb
    if launch.managed:
        resources["job_recovery"] = {"max_restarts_on_errors": launch.restarts}
    return {
        "name": launch.name,
        "num_nodes": launch.nodes,
        "resources": resources,
        **({"file_mounts": dict(launch.file_mounts)} if launch.file_mounts else {}),
        "envs": environment(launch),
        "secrets": dict.fromkeys([*launch.secrets, _TOKEN]),
        **({"setup": "\n".join(["set -e", *launch.setup, ""])} if launch.setup else {}),
        "run": _run(launch, command),
    }


def _run(launch: SkyPilotLaunch, command: Sequence[str]) -> str:
    quiet = "" if launch.dashboard else " --include-dashboard=false"
    start = f"--temp-dir=/tmp/s1s --disable-usage-stats --block {shlex.join(ray_resources(launch))} &"
    return "\n".join(
        [
            "set -e",
            "export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0",
            # Ray would drain a node for 30 s after TERM, when nothing is left to drain.
            "export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0",
            f'head=$(echo "$SKYPILOT_NODE_IPS" | head -n 1) port={_PORT}',
            'export RAY_ADDRESS="$head:$port"',
            "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT",
            "up() { (exec 3<>/dev/tcp/$head/$port) 2>/dev/null; }",
            'if [ "$SKYPILOT_NODE_RANK" = 0 ]; then',
            f'  ray start --head --node-ip-address="$head" --port=$port --dashboard-host=127.0.0.1{quiet} {start}',
            f"  until up; do [ $SECONDS -lt {launch.wait_seconds} ] || exit 1; sleep 1; done",
            f"  {wait_for(launch.nodes, launch.wait_seconds)}",
            f"  {shlex.join(command)}",
            "else",
            f"  until up; do [ $SECONDS -lt {launch.wait_seconds} ] || exit 1; sleep 1; done",
            f'  ray start --address="$RAY_ADDRESS" {start}',
            "  # The head's Ray ends with the command; its exit code is the job's.",
            "  while up; do sleep 5; done",
            "fi",
            "",
        ]
    )


def submit(launch: SkyPilotLaunch, command: Sequence[str]) -> str:
    """Hand the task to `sky`. Returns the managed job's number, or the cluster's name."""
    names = [part for name in (*launch.secrets, _TOKEN) for part in ("--secret", name)]
    verb = (
        ["jobs", "launch", "--detach-run"]
        if launch.managed
        else ["launch", "--detach-run", "--down", "-c", launch.name]
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "task.yaml"
        file.write_text(render(launch, command))
        said = call(
            ["sky", *verb, "--yes", *names, str(file)],
            "Get it with `pip install 'skypilot[aws]'` (or another cloud), in an environment of its own.",
            "`sky check` lists clouds with credentials, `sky gpus list` GPU kinds: change launcher.cloud, region, "
            "gpu_kind, gpus_per_node or spot to fit.",
            env={_TOKEN: secrets.token_hex(32)},
        )
    found = re.search(r"[Jj]ob ID:\D*(\d+)", said)
    return found.group(1) if launch.managed and found else launch.name


def after(launch: SkyPilotLaunch, job: str) -> str:
    if launch.managed:
        return f"See it: sky jobs queue; sky jobs logs {job}. Stop it: sky jobs cancel {job}."
    return f"See it: sky queue {job}; sky logs {job}. Stop it: sky down {job}."
