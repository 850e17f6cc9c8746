"""The Ray backend: jobs as Ray tasks, decoding on long-lived actors that keep their engine warm, trainings of several
ranks under Ray Train.

Only this file and what submits to a cluster import Ray.
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import psutil

from s1sweep.policy import Capacity, Node
from s1sweep.runtime.backend import ClusterLost, Handle, launch_here, lost
from s1sweep.runtime.job import Job, StageOutcome
from s1sweep.runtime.worker import classify, execute, log_to
from s1sweep.spec import Placement
from s1sweep.stages import preemption
from s1sweep.stages.contract import RankFunction
from s1sweep.stages.resources import Resources
from s1sweep.store import LOG

# A local Ray inherits these; a cluster's workers are given them.
_ENV = {
    "PYTHONPATH": "",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how soon Ray Train sees that a training has ended
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


KIND_LABEL = "ray.io/accelerator-type"
NODE_LABEL = "ray.io/node-id"
_Place = tuple[tuple[str, ...], float, str | None]  # node, GPUs and code of a decode worker
_Call = TypeVar("_Call", bound=Callable[..., Any])


def _uninterrupted(call: _Call) -> _Call:
    """An interrupt waits for the end of the call, unless it comes twice: inside Ray it may get lost, or come out as
    another error.
    """

    @functools.wraps(call)
    def uninterrupted(*args: Any, **kwargs: Any) -> Any:
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(before):
            return call(*args, **kwargs)
        asked = []

        def note(number: int, frame: Any) -> None:
            asked.append(number)
            if len(asked) > 1:
                before(number, frame)

        signal.signal(signal.SIGINT, note)
        try:
            return call(*args, **kwargs)
        finally:
            signal.signal(signal.SIGINT, before)
            if asked:
                before(asked[0], None)

    return uninterrupted  # type: ignore[return-value]


class RayBackend:
    """Carries jobs to a local Ray or to the cluster at `placement.ray_address`."""

    @_uninterrupted
    def __init__(self, placement: Placement, cpus: int) -> None:
        for name, value in _ENV.items():
            os.environ.setdefault(name, value)
        import ray

        self._ray = ray
        self._owned = not ray.is_initialized()
        # A directory of our own: a stale marker of another cluster in the shared one would be joined (facts).
        self._temp = tempfile.mkdtemp(prefix="s1sweep-ray-", dir="/tmp")
        if self._owned:
            self._start_ray(_init_arguments(placement, cpus, self._temp))
        self._home: str = ray.get_runtime_context().get_node_id()
        self._lost = False
        self._torn = False  # whether a training did not end by itself
        found = ray.cluster_resources()
        self.capacity = Capacity(found.get("CPU", 0.0), found.get("GPU", 0.0), placement.engines)
        self._placement = placement
        self._names: dict[str, str] = {}  # of nodes, by Ray's id
        self._jobs: dict[Handle, tuple[Job, Any]] = {}
        self._idle: dict[_Place, list[Any]] = {}
        self._busy: dict[Handle, tuple[_Place, Any]] = {}
        self._task = ray.remote(max_retries=0)(_execute)
        self._training = ray.remote(max_retries=0, max_calls=1)(_execute)  # a trainer leaves its state in the process
        self._actor = ray.remote(max_restarts=0, max_task_retries=0)(_DecodeWorker)

    def _start_ray(self, arguments: dict[str, Any]) -> None:
        """Ray gives its own processes 30 s to start, which may be too few on a machine that is busy."""
        for last in (False, False, True):
            try:
                self._ray.init(**arguments)
                return
            except Exception as error:  # Ray has no class for it
                if last or "timed out during startup" not in str(error):
                    raise
                self._ray.shutdown()

    @_uninterrupted
    def nodes(self) -> list[Node]:
        """The nodes that are alive, by names that stay theirs. Decode workers are dealt out among those with room.

        Raises ClusterLost if this process's own is not among them: Ray would try for ever to start jobs through it.
        """
        alive = sorted((found for found in self._ray.nodes() if found["Alive"]), key=lambda found: found["NodeID"])
        if all(found["NodeID"] != self._home for found in alive):
            self._lost = True
            raise ClusterLost(
                "the node through which this process reached its Ray cluster is gone. What finished is kept; "
                "the same command goes on from there."
            )
        if self._torn:
            _free_groups()
        have = [found["Resources"] for found in alive]
        need = self._placement.gpus_per_engine
        able = [i for i, some in enumerate(have) if some.get("GPU", 0.0) >= need and some.get("CPU", 0.0)]
        engines = [0] * len(alive)
        for i in range(self._placement.engines if able else 0):
            engines[able[i % len(able)]] += 1
        return [
            Node(
                cpus=some.get("CPU", 0.0),
                gpus=some.get("GPU", 0.0),
                engines=n,
                gpu_kind=self._gpu_kind(found) if some.get("GPU") else None,
                name=self._name(found),
            )
            for found, some, n in zip(alive, have, engines, strict=True)
        ]

    def _gpu_kind(self, found: dict[str, Any]) -> str | None:
        """As Ray labels or detects it, or else as the placement says."""
        label = found.get("Labels", {}).get(KIND_LABEL)
        seen = next(
            (name.partition(":")[2] for name in found["Resources"] if name.startswith("accelerator_type:")), None
        )
        return label or seen or self._placement.gpu_kind

    def _name(self, found: dict[str, Any]) -> str:
        """The node's own name; with a part of its id where another node has, or had, that name."""
        name, key = found.get("NodeName") or found["NodeManagerAddress"], found["NodeID"]
        if key not in self._names:
            self._names[key] = f"{name}-{key[:6]}" if name in self._names.values() else name
        return self._names[key]

    @_uninterrupted
    def submit(self, job: Job, nodes: Sequence[str] = ()) -> Handle:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ids = tuple(next(key for key, name in self._names.items() if name == node) for node in nodes)
        options: dict[str, Any] = {"runtime_env": _runtime_env(job.code)} if job.code else {}
        if ids:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id=ids[0], soft=False)
            job = replace(job, resources=replace(job.resources, nodes=ids))
        if job.kind == "decode":
            place = ids[:1], job.request.gpus, job.code
            actor = self._engine(place, options)
            self._busy[job.id] = place, actor
            ref = actor.execute.remote(job)
        else:
            if job.request.gpus:
                self._release_idle()
            # The ranks of a training take their own share; its driver only waits.
            cpus, gpus = (0.0, 0.0) if _ranked(job) else (job.request.cpus, job.request.gpus)
            task = self._training if job.kind == "train" else self._task
            # Named by kind: Ray counts tasks by name and never forgets one, 13 KiB each.
            ref = task.options(num_cpus=cpus, num_gpus=gpus, name=job.kind, **options).remote(job)
        self._jobs[job.id] = (job, ref)
        return job.id

    @_uninterrupted
    def wait_any(self, handles: Sequence[Handle], timeout: float) -> list[tuple[Handle, list[StageOutcome]]]:
        refs = {self._jobs[h][1]: h for h in handles if h in self._jobs}
        if not refs:
            return []
        ready, _ = self._ray.wait(list(refs), num_returns=1, timeout=timeout)
        if ready:
            ready, _ = self._ray.wait(list(refs), num_returns=len(refs), timeout=0)
        return [(refs[ref], self._collect(refs[ref])) for ref in ready]

    def _collect(self, handle: Handle) -> list[StageOutcome]:
        job, ref = self._jobs.pop(handle)
        place, actor = self._busy.pop(handle, (None, None))
        try:
            outcomes = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            # The worker died, or the job could not even start; what it published stands.
            self._torn |= _ranked(job)
            said = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            # Ray itself kills workers before a machine's memory is full.
            return lost(job, said, "out_of_memory" if classify(error) == "out_of_memory" else "worker_lost")
        self._torn |= _ranked(job) and not all(outcome.ok for outcome in outcomes)
        if place is not None:
            self._idle.setdefault(place, []).append(actor)
        return outcomes

    @_uninterrupted
    def cancel(self, handle: Handle) -> None:
        if self._lost:
            return  # it went with its owner
        job, ref = self._jobs.pop(handle, (None, None))
        _, actor = self._busy.pop(handle, (None, None))
        if actor is not None:
            self._ray.kill(actor)
        elif job is not None:
            self._torn |= _ranked(job)
            self._ray.cancel(ref, force=True, recursive=True)

    @_uninterrupted
    def close(self) -> None:
        for handle in list(self._jobs):
            self.cancel(handle)
        if not self._lost:
            self._release_idle()
        if self._owned:
            self._ray.shutdown()
        shutil.rmtree(self._temp, ignore_errors=True)

    def _engine(self, place: _Place, options: dict[str, Any]) -> Any:
        """A decode worker whose engine is warm, if there is one for this place; else those that idle make room."""
        if idle := self._idle.get(place):
            return idle.pop()
        self._release_idle()
        # An idle engine must not hold a CPU against the scheduler's own count; a GPU it really occupies.
        return self._actor.options(num_cpus=0, num_gpus=place[1], **options).remote()

    def _release_idle(self) -> None:
        for actor in (actor for idle in self._idle.values() for actor in idle):
            self._ray.kill(actor)
        self._idle.clear()


def _free_groups() -> None:
    """Remove what this driver's trainings reserved and dead controllers hold. Ray keeps it until the driver ends, and
    Ray Train's own cleaner asks the dashboard, which many clusters run without (2.60: `placement_group_cleaner.py`).
    """
    import ray
    from ray._private.state import state
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData as Group
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    mine = bytes.fromhex(ray.get_runtime_context().get_job_id())
    for group in map(Group.FromString, state._connect_and_get_accessor().get_placement_group_table()):
        held = group.creator_actor_dead and not group.is_detached and group.state != Group.REMOVED
        if held and group.creator_job_id == mine:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))


def _runtime_env(code: str) -> dict[str, Any]:
    """Frozen code comes before what is installed, in processes of its own."""
    if "://" in code:  # no folder that all machines see: each worker starts by bringing it
        return {"py_executable": shlex.join([sys.executable, "-m", "s1sweep.queue.code", code])}
    path = os.pathsep.join(part for part in (code, os.environ.get("PYTHONPATH", "")) if part)
    return {"env_vars": {"PYTHONPATH": path}}


def _init_arguments(placement: Placement, cpus: int, temp: str) -> dict[str, Any]:
    if placement.ray_address is not None:
        env = {"env_vars": {name: os.environ[name] for name in _ENV if name in os.environ}}
        return {"address": placement.ray_address, "log_to_driver": False, "runtime_env": env}
    return {
        "address": "local",
        "num_cpus": cpus,
        "num_gpus": placement.gpus,
        "object_store_memory": 256 << 20,
        "_temp_dir": temp,
        "log_to_driver": False,
        "include_dashboard": False,
        "configure_logging": False,
    }


def _ranked(job: Job) -> bool:
    """Whether it trains under Ray Train, whose processes take seconds to start. One rank alone needs none of them, but
    sharded weights need a process group.
    """
    return job.kind == "train" and (job.resources.train_workers > 1 or job.resources.train_strategy != "ddp")


def _execute(job: Job) -> list[StageOutcome]:
    return execute(job, launch_ranks if _ranked(job) else launch_here, own_process=True)


class _DecodeWorker:
    """A process that decodes; its engine stays warm between jobs."""

    def execute(self, job: Job) -> list[StageOutcome]:
        return execute(job, launch_here, own_process=True)


def launch_ranks(fn: RankFunction, config: dict[str, Any], resources: Resources) -> None:
    """Run a per-rank function under Ray Train."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import WorkerGroupError

    gpus = resources.gpus_per_train_worker
    with tempfile.TemporaryDirectory(prefix="s1sweep-train-") as storage:
        trainer = TorchTrainer(
            _rank,
            train_loop_config={"fn": fn, "config": config},
            torch_config=_torch_config("nccl" if gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=resources.train_workers,
                use_gpu=gpus > 0,
                resources_per_worker={"CPU": resources.threads, **({"GPU": gpus} if gpus else {})},
                # Each rank on the node that the policy gave it.
                label_selector=[{NODE_LABEL: node} for node in resources.nodes] or None,
            ),
            # A fresh name: Ray Train silently resumes an old run of the same name (facts).
            run_config=RunConfig(
                name=uuid.uuid4().hex, storage_path=storage, failure_config=FailureConfig(max_failures=0)
            ),
        )
        try:
            trainer.fit()
        except WorkerGroupError as error:
            # What a rank raised says more than that the group failed, or that the others lost it.
            failures = [failure for _, failure in sorted(error.worker_failures.items())]
            raise next((f for f in failures if classify(f) != "worker_lost"), failures[0]) from error


def _torch_config(backend: str) -> Any:
    """Ray Train's own, but each rank heeds SIGTERM: ranks run in threads, where no handler can be set."""
    from ray.train.torch import TorchConfig
    from ray.train.torch.config import _TorchBackend

    class Backend(_TorchBackend):
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            worker_group.execute(_set_up_gloo)
            super().on_start(worker_group, backend_config)
            worker_group.execute(_catch_sigterm)

    class Config(TorchConfig):
        @property
        def backend_cls(self) -> Any:
            return Backend

    return Config(backend=backend)


def _catch_sigterm() -> None:
    preemption.on_sigterm()


def _set_up_gloo() -> None:
    """Have Gloo listen where Ray does: it goes by the host's name, which on many machines means 127.0.0.1."""
    import ray

    here = ray.util.get_node_ip_address()
    for name, addresses in psutil.net_if_addrs().items():
        if here in (address.address for address in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def _rank(loop: dict[str, Any]) -> None:
    with log_to(Path(loop["config"]["out"]) / LOG, own_process=True), preemption.watching_stop_file(loop["config"]):
        loop["fn"](loop["config"])
