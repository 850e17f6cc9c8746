"""What all launchers share: checks, quoting, and calling a tool whose refusal is shown as it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from s1sweep.errors import UserError
from s1sweep.spec import Placement
from s1sweep.spec.launch import KubeRayLaunch, Launch, Machines, RayJobLaunch, SlurmLaunch

_SECRET = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$")


def check(launch: Launch, command: Sequence[str], submitting: bool = False) -> None:
    """Raise UserError on what can be seen to go wrong; when submitting, also on secrets that have no value here."""
    if not command:
        raise UserError("the command is empty. Give one after --, as `-- s1sweep run -m experiment=table1`.")
    for name in launch.env:
        if _SECRET.search(name.upper()):
            raise UserError(
                f"launcher.env.{name} looks like a secret, and would be written down. "
                f"Give its name only: launcher.secrets=[{name}]."
            )
    told = {"the command": " ".join(command), "launcher.env": " ".join(launch.env.values())}
    told["launcher.setup"] = " ".join(launch.setup)
    for name, value in os.environ.items():
        if (name in launch.secrets or _SECRET.search(name)) and len(value) >= 8:
            for place, text in told.items():
                if value in text:
                    raise UserError(f"{place} holds the value of {name}. Name it in launcher.secrets instead.")
    if "\n" in "".join(command):
        raise UserError("the command has a line break. Put it into a script, and give the script's path.")
    if not launch.root.startswith("/") and "://" not in launch.root:
        raise UserError(f"launcher.root={launch.root!r} is relative. Give the path that the cluster's machines see.")
    if isinstance(launch, KubeRayLaunch) and launch.secrets and not launch.secret_name:
        raise UserError(
            f"launcher.secrets={list(launch.secrets)} needs launcher.secret_name: the Kubernetes Secret that has them. "
            "Make one: kubectl create secret generic s1sweep --from-env-file=FILE."
        )
    if submitting and not isinstance(launch, KubeRayLaunch | RayJobLaunch):
        missing = [name for name in launch.secrets if not os.environ.get(name)]
        if missing:
            raise UserError(f"launcher.secrets: {', '.join(missing)} not set here. Export it before the launch.")


def check_placement(launch: Launch, placement: Placement) -> None:
    """Raise UserError where the placement counts on more GPUs than the launch asks for."""
    if not isinstance(launch, Machines):
        return
    asked = launch.nodes * launch.gpus_per_node
    if placement.gpus > asked:
        raise UserError(
            f"placement={placement.name} counts on {placement.gpus} GPUs, the launch asks for {launch.nodes} x "
            f"{launch.gpus_per_node} = {asked}. Raise launcher.nodes or launcher.gpus_per_node, "
            "or lower placement.gpus."
        )
    if isinstance(launch, SlurmLaunch) and "://" in launch.shared_dir:
        raise UserError(
            f"launcher.shared_dir={launch.shared_dir!r} is no folder, and the store is not either. "
            "Give launcher.shared_dir=/a/folder that all nodes see."
        )


def ray_resources(launch: Machines) -> tuple[str, ...]:
    """The arguments of `ray start` that say what a machine has."""
    gpus = (f"--num-gpus={launch.gpus_per_node}",) if launch.gpus_per_node else ()
    return f"--num-cpus={launch.cpus_per_node}", *gpus, *launch.ray_args


def wait_for(nodes: int, seconds: int) -> str:
    """The shell command that waits for a cluster's machines, bounded in time."""
    return f"python -m s1sweep.launchers.wait --nodes {nodes} --seconds {seconds}"


def environment(launch: Launch) -> dict[str, str]:
    """What the command finds in its environment: the launch's store, and what the launch says."""
    return {"S1SWEEP_ROOT": launch.root, **launch.env}


class _Text(yaml.SafeDumper):
    """Scripts as blocks that can be read, and nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Text.add_representer(str, _string)


def to_yaml(value: Mapping[str, Any]) -> str:
    return yaml.dump(dict(value), Dumper=_Text, sort_keys=False, width=120)


def call(
    argv: Sequence[str], get_it: str, hint: str, text: str | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run a tool and return what it printed. Its refusal is a UserError: its own words, and what to change."""
    if shutil.which(argv[0]) is None:
        raise UserError(f"{argv[0]} is not on this machine's PATH. {get_it}")
    given = {**os.environ, **(env or {})}
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False, env=given)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise UserError(f"{argv[0]} refused:\n{said}\n{hint}")
    return done.stdout
