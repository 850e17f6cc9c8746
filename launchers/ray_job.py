"""A Ray cluster that runs already: one command through its Jobs API.

The Jobs API keeps what it is given where every user of the cluster reads it, so a secret is only looked for: it must be
in the environment of the cluster's machines.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import Any

from s1sweep.errors import UserError
from s1sweep.launchers.base import environment, to_yaml
from s1sweep.spec.launch import RayJobLaunch


def render(launch: RayJobLaunch, command: Sequence[str]) -> str:
    """The request as YAML: the cluster's address, and the arguments of `submit_job`."""
    return to_yaml({"address": launch.address, **request(launch, command)})


def request(launch: RayJobLaunch, command: Sequence[str]) -> dict[str, Any]:
    """The arguments of JobSubmissionClient.submit_job. The entrypoint joins the cluster that runs it."""
    needs = [f': "${{{name}:?not set on this cluster}}"' for name in launch.secrets]
    script = "; ".join(["set -e", *needs, *launch.setup, f"exec {shlex.join(command)}"])
    return {
        "entrypoint": f"bash -c {shlex.quote(script)}",
        "entrypoint_num_cpus": launch.cpus,
        "runtime_env": {"env_vars": environment(launch)},
        "metadata": {"name": launch.name},
    }


def submit(launch: RayJobLaunch, command: Sequence[str]) -> str:
    """Submit over the Jobs API. Returns the job's id."""
    return str(_asked(launch, lambda client: client.submit_job(**request(launch, command))))


def status(launch: RayJobLaunch, job: str) -> str:
    """PENDING, RUNNING, SUCCEEDED, STOPPED or FAILED."""
    return str(_asked(launch, lambda client: client.get_job_status(job).value))


def logs(launch: RayJobLaunch, job: str) -> str:
    """What the command has printed so far."""
    return str(_asked(launch, lambda client: client.get_job_logs(job)))


def stop(launch: RayJobLaunch, job: str) -> None:
    """SIGTERM to the command, and SIGKILL some seconds later."""
    _asked(launch, lambda client: client.stop_job(job))


def after(launch: RayJobLaunch, job: str) -> str:
    at = f"--address {launch.address} {job}"
    return f"See it: ray job logs -f {at}. Stop it: ray job stop {at}."


def _asked(launch: RayJobLaunch, call: Any) -> Any:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):  # they win over the argument, in Ray's client
        if os.environ.get(name, launch.address) != launch.address:
            raise UserError(f"{name}={os.environ[name]} would win over launcher.address={launch.address}. Unset it.")
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise UserError(
            f"Ray's job client is not installed here ({error}). Get it: pip install 'ray[default]'."
        ) from None
    try:
        return call(JobSubmissionClient(launch.address))
    except Exception as error:
        raise UserError(
            f"the Ray cluster at launcher.address={launch.address} refused: {str(error).strip()[:1500]}\n"
            "The address is the dashboard's, the cluster needs `ray[default]`, and a cluster with a token wants "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH here."
        ) from error
