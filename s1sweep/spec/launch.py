"""Where a cluster comes from: what each launcher is told. Of no result's identity.

Secrets are names everywhere; no field holds a secret's value. This module knows no scheduler: what the fields become
there is the launchers' own business.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from s1sweep.spec import Placement
from s1sweep.spec.base import Where

EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9\-]{0,61}[a-z0-9])?$")]  # a name for Kubernetes, so for all
Word = Annotated[str, Field(pattern=r"^[^\s\"'\\$`]+$")]  # stands in a script's header as it is
Count = Annotated[int, Field(ge=1)]
Line = Annotated[str, Field(pattern=r"^[^\n]+$")]


class Launch(Where):
    """What every launcher is told: the job's name, the store, and what the command finds around it."""

    model_config = ConfigDict(coerce_numbers_to_str=True)  # Hydra reads time_limit=90 as a number

    name: Label
    root: str
    env: dict[EnvName, str]
    secrets: tuple[EnvName, ...]
    setup: tuple[Line, ...]


class Machines(Launch):
    """A launcher that starts Ray itself: the machines, and how long they may take to meet."""

    nodes: Count
    gpus_per_node: Annotated[int, Field(ge=0)]
    gpu_kind: Word | None
    cpus_per_node: Count
    memory_gb: Count | None
    wait_seconds: Count
    ray_args: tuple[Line, ...]


class SlurmLaunch(Machines):
    """A Ray cluster across the nodes of one Slurm job."""

    kind: Literal["slurm"]
    shared_dir: str
    time_limit: Annotated[str, Field(pattern=r"^(\d+-\d{1,2}(:\d{2}){0,2}|\d+(:\d{2}){0,2})$")]
    account: Word | None
    partition: Word | None
    qos: Word | None
    constraint: Word | None
    requeue: bool
    grace_seconds: Annotated[int, Field(ge=30, le=65535)]
    array: Annotated[str, Field(pattern=r"^[0-9]+([-,:][0-9]+)*(%[0-9]+)?$")] | None
    interface: Word | None
    container: Line | None
    dashboard: bool
    args: tuple[Word, ...]


class KubeRayLaunch(Machines):
    """A KubeRay RayJob; with `queue`, one that Kueue admits."""

    kind: Literal["kuberay"]
    namespace: Label
    image: Word
    ray_version: Word
    queue: Label | None
    priority_class: Label | None
    service_account: Label | None
    secret_name: Label | None
    volume_claim: Label
    mount_path: Annotated[str, Field(pattern=r"^/")]
    node_selector: dict[str, str]
    head_cpus: Count
    head_memory_gb: Count
    shm_gb: Count
    retries: Annotated[int, Field(ge=0)]
    keep_seconds: Annotated[int, Field(ge=0)]
    deadline_seconds: Count | None


class SkyPilotLaunch(Machines):
    """A SkyPilot task on one or more cloud machines, by default as a managed job."""

    kind: Literal["skypilot"]
    cloud: Word | None
    region: Word | None
    spot: bool
    image: Word | None
    disk_gb: Count | None
    file_mounts: dict[str, str]
    managed: bool
    dashboard: bool
    restarts: Annotated[int, Field(ge=0)]


class RayJobLaunch(Launch):
    """A job on a Ray cluster that runs already."""

    kind: Literal["ray_job"]
    address: Annotated[str, Field(pattern=r"^(https?|ray)://|^auto$")]
    cpus: Annotated[float, Field(ge=0)]


LaunchSpec = Annotated[SlurmLaunch | KubeRayLaunch | SkyPilotLaunch | RayJobLaunch, Field(discriminator="kind")]


class LaunchConfig(Where):
    """A composed launch: the launcher, and the placement whose store and machines it is for."""

    launcher: LaunchSpec
    placement: Placement
