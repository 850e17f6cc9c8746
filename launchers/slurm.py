"""Slurm: a batch script that makes a Ray cluster of its nodes, runs the command, and queues itself again in time.

The script is a header, which the launch defines, and slurm.sh, which is the same for all.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from s1sweep.launchers.base import call, environment, ray_resources
from s1sweep.spec.launch import SlurmLaunch

_BODY = Path(__file__).with_name("slurm.sh")
_PASSED = ("HOME", "USER", "LOGNAME", "PATH", "LANG")


def render(launch: SlurmLaunch, command: Sequence[str]) -> str:
    """The text that sbatch reads."""
    lines = ["#!/bin/bash", *(f"#SBATCH {option}" for option in _options(launch)), ""]
    lines += [
        *(f"{name}={value}" for name, value in _settings(launch).items()),
        f"ray_args=({shlex.join(ray_resources(launch))})",
        f"head_args=({'' if launch.dashboard else '--include-dashboard=false'})",
        f"command=({shlex.join(command)})",
    ]
    if launch.array is not None:
        lines.append("command=(\"${command[@]//'{task}'/$SLURM_ARRAY_TASK_ID}\")")
    exports = [f"export {name}={shlex.quote(value)}" for name, value in environment(launch).items()]
    return "\n".join([*lines, *exports, *launch.setup, "", _BODY.read_text()])


def _options(launch: SlurmLaunch) -> list[str]:
    kind = f"{launch.gpu_kind}:" if launch.gpu_kind else ""
    place = "%A_%a" if launch.array is not None else "%j"
    return [
        f"--job-name={launch.name}",
        f"--nodes={launch.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={launch.cpus_per_node}",
        *([f"--gpus-per-node={kind}{launch.gpus_per_node}"] if launch.gpus_per_node else []),
        *([f"--mem={launch.memory_gb}G"] if launch.memory_gb else []),
        f"--time={launch.time_limit}",
        *(
            f"--{name}={value}"
            for name in ("account", "partition", "qos", "constraint")
            if (value := getattr(launch, name)) is not None
        ),
        *([f"--array={launch.array}"] if launch.array is not None else []),
        f"--signal=B:USR1@{launch.grace_seconds}",
        "--requeue" if launch.requeue else "--no-requeue",
        "--open-mode=append",
        f'--output="{_logs(launch)}/{place}.log"',
        # Names: Slurm carries their values, and nothing else of the submitting shell.
        f"--export={','.join((*_PASSED, *launch.secrets))}",
        *launch.args,
    ]


def _settings(launch: SlurmLaunch) -> dict[str, object]:
    return {
        "nodes": launch.nodes,
        "cpus": launch.cpus_per_node,
        "wait_seconds": launch.wait_seconds,
        "grace_seconds": launch.grace_seconds,
        "requeue": int(launch.requeue),
        "interface": shlex.quote(launch.interface or ""),
        "container": shlex.quote(launch.container or ""),
        "shared_dir": shlex.quote(launch.shared_dir),
    }


def _logs(launch: SlurmLaunch) -> str:
    return launch.shared_dir.replace("%", "%%")


def submit(launch: SlurmLaunch, command: Sequence[str]) -> str:
    """Hand the script to sbatch. Returns the job's id."""
    Path(launch.shared_dir).mkdir(parents=True, exist_ok=True)
    said = call(
        ["sbatch", "--parsable"],
        "It comes with Slurm: run this on the cluster's login node, or take --dry-run's script there.",
        "`sinfo -o '%P %l %D %c %m %G'` lists partitions, limits, nodes, CPUs, memory and GPU kinds: change "
        "launcher.partition, time_limit, nodes, cpus_per_node, memory_gb, gpus_per_node or gpu_kind to fit.",
        text=render(launch, command),
    )
    return said.strip().split(";")[0]


def after(launch: SlurmLaunch, job: str) -> str:
    log = f"{launch.shared_dir}/{job}{'_*' if launch.array is not None else ''}.log"
    return f"See it: squeue -j {job}; tail -F {log}. Stop it: scancel {job}."
