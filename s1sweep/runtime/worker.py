"""What a worker does with a job, whatever backend carried it there: run each stage, publish each record at once.

Knows the store and which module holds which stage; knows no Ray, no plan and no policy.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from s1sweep.errors import StoreUnavailable, UserError
from s1sweep.runtime.job import Job, StageOutcome
from s1sweep.stages.contract import Done, Item, LaunchRanks
from s1sweep.store import LOG, Failure, FailureKind, Store
from s1sweep.store.storage import FULL

STAGES = {
    "pool": "s1sweep.data.ingest",
    "curate": "s1sweep.data.curate",
    "select": "s1sweep.data.select",
    "train": "s1sweep.training.sft",
    "decode": "s1sweep.decoding.decode",
    "grade": "s1sweep.grading.grade",
}


# Ray's words for a process that went away, by name: this file does not know Ray.
LOST = {
    "ActorDiedError",
    "ActorUnavailableError",
    "NodeDiedError",
    "RayActorError",
    "WorkerCrashedError",
    "WorkerHealthCheckFailedError",
}

# What the other ranks of a training say of one that went away (gloo, NCCL).
PEERS = ("connection closed by peer", "connection reset by peer", "remote process exited")


def execute(job: Job, launch_ranks: LaunchRanks, own_process: bool) -> list[StageOutcome]:
    """Run a job's stages and publish their records. Never raises for a failing stage: it is an outcome.

    `own_process` says that the file descriptors 1 and 2 belong to the job and go to its log.
    """
    store = Store(job.root)
    try:
        if not store.known_as(job.store):
            return _all(job, Failure(kind="worker_lost", message=_not_shared(store)))
        items = [
            Item(t.spec, {name: store.outputs(i) for name, i in t.inputs.items()}, store.attempt_dir(t.id, t.attempt))
            for t in job.tasks
        ]
    except (StoreUnavailable, OSError) as error:
        return _all(job, failure_of(error))
    with log_to(items[0].out / LOG, own_process):
        run = _run_shard if job.resources.shard is not None else _run_stages
        outcomes = run(store, job, items, launch_ranks)
    failed = [outcome for outcome in outcomes if not outcome.ok]
    if not failed:
        return outcomes
    log = None
    with contextlib.suppress(StoreUnavailable):
        log = store.keep_log(items[0].out)
    return [
        replace(one, failure=one.failure.model_copy(update={"log": log})) if one.failure else one for one in outcomes
    ]


def _run_stages(store: Store, job: Job, items: list[Item], launch_ranks: LaunchRanks) -> list[StageOutcome]:
    """Run the stages and publish each as soon as it is done."""
    tasks = {item.out: task for item, task in zip(items, job.tasks, strict=True)}
    outcomes = []
    with contextlib.closing(_run_all(job, items, launch_ranks)) as ended:
        for item, done, started in ended:
            task = tasks.pop(item.out)
            try:
                if not isinstance(done, Done):
                    raise done
                # Stages that one engine serves at the same time are known by their session: their times overlap.
                cost = {**done.cost, "session": job.tasks[0].attempt} if job.kind == "decode" else dict(done.cost)
                store.publish(task.id, task.hashed, item.out, done.summary, started, cost)
                outcomes.append(StageOutcome(task.id))
            except Exception as error:
                _print(error)
                outcomes.append(StageOutcome(task.id, failure_of(error)))
    return outcomes


def _run_shard(store: Store, job: Job, items: list[Item], launch_ranks: LaunchRanks) -> list[StageOutcome]:
    """Run one shard of an engine session. It publishes nothing; what it leaves are traces."""
    failed = None
    for _, done, _ in _run_all(job, items, launch_ranks):
        if not isinstance(done, Done):
            _print(done)
            failed = failure_of(done)
    if failed is not None:
        return _all(job, failed)
    for item in items:
        shutil.rmtree(item.out, ignore_errors=True)
    return [StageOutcome(task.id) for task in job.tasks]


def _run_all(job: Job, items: list[Item], launch_ranks: LaunchRanks) -> Generator[tuple[Item, Done | Exception, float]]:
    """Each item with how it ended and when its own work began; an error outside any stage ends those that are left."""
    began = time.time()
    left = {item.out: item for item in items}
    try:
        module = importlib.import_module(STAGES.get(job.kind, job.kind))
        shared = {"resources": job.resources, "launch_ranks": launch_ranks}
        if hasattr(module, "run_all"):
            # Closed as soon as this is left, however: then a session hands its engine back.
            with contextlib.closing(module.run_all(items, **shared)) as ended:
                for item, done in ended:
                    left.pop(item.out)
                    own = done.started if isinstance(done, Done) else None
                    yield item, done, began if own is None else own
            return
        for item in items:
            left.pop(item.out)
            started = time.time()
            yield item, _run_one(module, item, shared), started
    except Exception as error:
        for item in list(left.values()):
            yield item, error, began


def _run_one(module: Any, item: Item, shared: dict[str, Any]) -> Done | Exception:
    try:
        done = module.run(item.spec, item.inputs, item.out, **shared)
    except Exception as error:
        return error
    return done if isinstance(done, Done) else Done(done)


# --- failures


def _all(job: Job, failure: Failure) -> list[StageOutcome]:
    return [StageOutcome(task.id, failure) for task in job.tasks]


def _not_shared(store: Store) -> str:
    return (
        f"{store.url} on {socket.gethostname()} is not the scheduler's store, though it has the same path. Mount one "
        "folder there on all nodes, or give placement.root another that they share, or a URL"
    )


def failure_of(error: BaseException) -> Failure:
    """A failure by what was raised: its class, and its message whole."""
    said = str(error).strip()
    if not isinstance(error, UserError):  # which speaks to the user already
        said = f"{type(error).__name__}: {said}"
    return Failure(kind=classify(error), message=said)


def classify(error: BaseException) -> FailureKind:
    """The class of a failure, by the error and its causes."""
    seen: BaseException | None = error
    while seen is not None:
        if type(seen).__name__ == "Preempted" or getattr(seen, "preempted", False):  # the latter is Ray's word for it
            return "preempted"
        if type(seen).__name__ in LOST:
            return "worker_lost"
        if isinstance(seen, StoreUnavailable) or (isinstance(seen, OSError) and seen.errno in FULL):
            return "store"
        text = f"{type(seen).__name__}: {seen}".lower()
        if any(word in text for word in PEERS):
            return "worker_lost"
        if isinstance(seen, MemoryError) or "out of memory" in text or "outofmemory" in text:
            return "out_of_memory"
        seen = seen.__cause__ or seen.__context__
    return "bug"


def _print(error: Exception) -> None:
    with contextlib.suppress(OSError):  # a full disk takes no log either
        traceback.print_exception(error, file=sys.stderr)


# --- logs


@contextlib.contextmanager
def log_to(path: Path, own_process: bool) -> Iterator[None]:
    """Send output to a log file: whole descriptors in a process of its own, Python's streams in a shared one."""
    with contextlib.ExitStack() as stack:
        f = path.open("a", encoding="utf-8", buffering=1)
        stack.callback(_close, f)
        handler = logging.StreamHandler(f)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(handler)
        try:
            with contextlib.redirect_stdout(f), contextlib.redirect_stderr(f):
                if not own_process:
                    yield
                    return
                saved = os.dup(1), os.dup(2)
                os.dup2(f.fileno(), 1)
                os.dup2(f.fileno(), 2)
                try:
                    yield
                finally:
                    for descriptor, copy in zip((1, 2), saved, strict=True):
                        os.dup2(copy, descriptor)
                        os.close(copy)
        finally:
            logging.getLogger().removeHandler(handler)


def _close(file: TextIO) -> None:
    with contextlib.suppress(OSError):  # a full disk must not hide what failed on it
        file.close()
