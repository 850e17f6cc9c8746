"""Whether a cluster can do what is submitted to it, before it is queued: GPUs by kind and number, disk, credentials.

Knows what stages ask for and what the cluster said it has; asks no cluster.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

from s1sweep.errors import UserError
from s1sweep.planning import Stage
from s1sweep.policy import Actions, Cluster, Node, Waiting
from s1sweep.spec import CurateStage, Placement, ServerDomainsSpec, Tracking, TrainStage
from s1sweep.stages.resources import request

WEIGHTS = 4  # bytes a parameter of a published checkpoint
STEP = 12  # bytes a parameter of a step checkpoint beside it: weights and Adam's moments
SECRET = ("KEY", "TOKEN", "SECRET", "PASSWORD")


def check(
    stages: Mapping[str, Stage], placement: Placement, tracking: Tracking, said: Mapping[str, Any] | None, store: str
) -> list[str]:
    """Raise UserError for what can never run; returns notes on what may not. `said` is the service's last word."""
    _place(stages, placement, said)
    _disk(stages, store)
    return _credentials(stages, tracking, said)


def _place(stages: Mapping[str, Stage], placement: Placement, said: Mapping[str, Any] | None) -> None:
    nodes = [Node(**node) for node in said["nodes"]] if said else []
    if not nodes:  # nobody knows better than the placement
        cpus = float(placement.cpus or inf)
        nodes = [Node(cpus, placement.gpus, placement.engines, placement.gpu_kind, placement.name)]
    cluster = Cluster(nodes)
    for kind in sorted({stage.kind for stage in stages.values()}):
        asked = request(kind, placement)
        if not cluster.possible(asked):
            why = Actions(_cluster=cluster).why(Waiting(kind, asked))
            kinds = sorted({node.gpu_kind or "unknown kind" for node in nodes if node.gpus})
            what = f" GPUs there are: {', '.join(kinds)}." if asked.gpus and kinds else ""
            field = "gpus_per_engine" if kind == "decode" else "gpus_per_train_worker x train_workers"
            whose = f"cluster {said['cluster']!r}" if said else f"placement={placement.name}"
            raise UserError(
                f"one {kind} job {why} ({whose}).{what} Change placement.{field}, placement.gpu_kind or "
                "placement.threads, or submit to another cluster."
            )


def _disk(stages: Mapping[str, Stage], store: str) -> None:
    if "://" in store:
        return
    sizes = [stage.spec.model.parameters for stage in stages.values() if isinstance(stage.spec, TrainStage)]
    need = (WEIGHTS * sum(sizes) + STEP * max(sizes, default=0)) / 1e9
    place = next(path for path in (Path(store), *Path(store).parents) if path.exists())
    free = shutil.disk_usage(place).free / 1e9
    if need > free:
        raise UserError(
            f"placement.root={store!r} has {free:.3g} GB free, and {len(sizes)} trainings write about {need:.3g} GB. "
            "Free some space (`s1sweep store gc` shows what can go), or give another placement.root."
        )


def _credentials(stages: Mapping[str, Stage], tracking: Tracking, said: Mapping[str, Any] | None) -> list[str]:
    """By name: no value leaves the environment that it is in."""
    steps = [stage.spec.step for stage in stages.values() if isinstance(stage.spec, CurateStage)]
    needed = {step.key_env for step in steps if isinstance(step, ServerDomainsSpec) and step.key_env}
    if said is None:
        return [f"the service must have {name} in its environment" for name in sorted(needed)]
    missing = sorted(needed - set(said.get("credentials", ())))
    if missing:
        raise UserError(
            f"curation.domains.key_env: {', '.join(missing)} not set where the service of cluster {said['cluster']!r} "
            "runs. Start the service with it in its environment."
        )
    if tracking.mode == "online" and "WANDB_API_KEY" not in said.get("credentials", ()):
        return ["the service has no WANDB_API_KEY; unless it is logged in otherwise, W&B runs are written offline"]
    return []


def credentials(environment: Mapping[str, str]) -> list[str]:
    """Names of what looks like credentials. Never their values."""
    return sorted(name for name in environment if name.upper().endswith(SECRET))
