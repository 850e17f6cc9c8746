"""KubeRay: a RayJob whose head runs the command and whose workers run the stages; with a queue, Kueue admits it.

A manifest names the Secret's keys and never their values. What the command needs besides is in its image and volume.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from s1sweep.launchers.base import call, environment, ray_resources, to_yaml, wait_for
from s1sweep.spec.launch import KubeRayLaunch

_GPU_LABEL = "nvidia.com/gpu.product"  # as NVIDIA's device plugin labels nodes


def render(launch: KubeRayLaunch, command: Sequence[str]) -> str:
    """The manifest as YAML."""
    return to_yaml(manifest(launch, command))


def manifest(launch: KubeRayLaunch, command: Sequence[str]) -> dict[str, Any]:
    """A ray.io/v1 RayJob. Its name is generated, so that the same launch can be submitted again."""
    queue: dict[str, Any] = {}
    if launch.queue:
        queue["kueue.x-k8s.io/queue-name"] = launch.queue
        if launch.priority_class:
            queue["kueue.x-k8s.io/priority-class"] = launch.priority_class
    entrypoint = f"{wait_for(launch.nodes + 1, launch.wait_seconds)} && exec {shlex.join(command)}"
    spec: dict[str, Any] = {
        "entrypoint": f"bash -c {shlex.quote('; '.join(['set -e', *launch.setup, entrypoint]))}",
        "submissionMode": "K8sJobMode",
        # A failed command is tried on a new cluster, not submitted to the old one twice.
        "submitterConfig": {"backoffLimit": 0},
        "backoffLimit": launch.retries,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": launch.keep_seconds,
        **({"activeDeadlineSeconds": launch.deadline_seconds} if launch.deadline_seconds else {}),
        **({"suspend": True} if launch.queue else {}),  # Kueue starts it
        "rayClusterSpec": _cluster(launch),
    }
    meta = {"generateName": f"{launch.name}-", "namespace": launch.namespace, **({"labels": queue} if queue else {})}
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": meta, "spec": spec}


def _cluster(launch: KubeRayLaunch) -> dict[str, Any]:
    said = (argument.removeprefix("--").partition("=") for argument in ray_resources(launch))
    numbers = {name: value or "true" for name, _, value in said}
    head = {"cpu": str(launch.head_cpus), "memory": f"{launch.head_memory_gb}Gi"}
    worker = {"cpu": str(launch.cpus_per_node)}
    if launch.memory_gb:
        worker["memory"] = f"{launch.memory_gb}Gi"
    if launch.gpus_per_node:
        worker["nvidia.com/gpu"] = str(launch.gpus_per_node)
    kind = {_GPU_LABEL: launch.gpu_kind} if launch.gpu_kind and launch.gpus_per_node else {}
    return {
        "rayVersion": launch.ray_version,
        # KubeRay makes the token, keeps it in a Secret of the cluster's, and gives it to every pod.
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            # On the pod's address, since KubeRay's operator and submitter come from other pods. The token guards it.
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},
            "template": _pod(launch, "ray-head", head, launch.node_selector),
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": launch.nodes,
                "minReplicas": launch.nodes,
                "maxReplicas": launch.nodes,
                "rayStartParams": numbers,
                "template": _pod(launch, "ray-worker", worker, {**launch.node_selector, **kind}),
            }
        ],
    }


def _pod(launch: KubeRayLaunch, name: str, resources: dict[str, str], nodes: dict[str, str]) -> dict[str, Any]:
    env: list[dict[str, Any]] = [{"name": key, "value": value} for key, value in environment(launch).items()]
    for key in launch.secrets:
        env.append({"name": key, "valueFrom": {"secretKeyRef": {"name": launch.secret_name, "key": key}}})
    container = {
        "name": name,
        "image": launch.image,
        "env": env,
        "resources": {"limits": resources, "requests": resources},
        "volumeMounts": [
            {"name": "store", "mountPath": launch.mount_path},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }
    spec: dict[str, Any] = {
        "containers": [container],
        "volumes": [
            {"name": "store", "persistentVolumeClaim": {"claimName": launch.volume_claim}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{launch.shm_gb}Gi"}},
        ],
    }
    if nodes:
        spec["nodeSelector"] = nodes
    if launch.service_account:
        spec["serviceAccountName"] = launch.service_account
    if launch.priority_class and not launch.queue:
        spec["priorityClassName"] = launch.priority_class
    return {"spec": spec}


def submit(launch: KubeRayLaunch, command: Sequence[str]) -> str:
    """Create the RayJob with kubectl. Returns its name."""
    said = call(
        ["kubectl", "create", "-f", "-", "-o", "name"],
        "Get it from https://kubernetes.io/docs/tasks/tools/, or take --dry-run's manifest to where it is.",
        "`kubectl config current-context` says where it went; `kubectl api-resources` must list rayjobs (KubeRay) "
        "and, for launcher.queue, localqueues (Kueue).",
        text=render(launch, command),
    )
    return said.strip().split("/")[-1]


def after(launch: KubeRayLaunch, job: str) -> str:
    where = f"-n {launch.namespace}"
    return (
        f"See it: kubectl {where} get rayjob,workloads; kubectl {where} logs -f job/{job}. "
        f"Stop it: kubectl {where} delete rayjob {job}."
    )
