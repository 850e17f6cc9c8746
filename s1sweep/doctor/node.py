"""What `doctor` runs on each node of a cluster: a stage that does nothing, in a store of its own within the sweep's."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s1sweep import __version__
from s1sweep.errors import UserError
from s1sweep.runtime.backend import Backend
from s1sweep.runtime.job import Job, Task
from s1sweep.spec import Spec
from s1sweep.stages.resources import Request, Resources
from s1sweep.store import Store
from s1sweep.store.attempts import attempt_name

SECONDS = 60.0  # for all nodes to start a process and import s1sweep


class NodeProbe(Spec):
    """What the driver is, which a node should be too."""

    version: str = __version__


def run(spec: NodeProbe, inputs: Mapping[str, Path], out: Path, **_: Any) -> dict[str, Any]:
    """The stage. Raises UserError where the node has another s1sweep."""
    if spec.version != __version__:
        raise UserError(f"s1sweep {__version__} on {platform.node()}, {spec.version} here: install the same")
    (out / "here.txt").write_text(platform.node())
    return {}


def refusals(backend: Backend, folder: Path) -> list[str]:
    """Why nodes of a cluster cannot work in a store in this folder; none if all can, each tried by a real job."""
    store = Store(folder)
    jobs = {}
    for node in backend.nodes():
        task = Task(f"probe-{node.name}", __name__, NodeProbe(), {}, {}, attempt_name())
        job = Job(task.id, __name__, (task,), Request(0.0), Resources(), store.url, store.identity())
        jobs[backend.submit(job, (node.name,))] = node.name
    found: list[str] = []
    end = time.monotonic() + SECONDS
    while jobs and time.monotonic() < end:
        for handle, outcomes in backend.wait_any(list(jobs), end - time.monotonic()):
            name = jobs.pop(handle)
            found += [f"{name}: {outcome.failure}" for outcome in outcomes if not outcome.ok]
    return found + [f"{name} did not answer within {SECONDS:g} s" for name in jobs.values()]
