"""A plan becomes a submission: checked against what the cluster has, frozen with its code, and written.

Knows plans, files and what a cluster said; starts nothing.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any

from s1sweep.planning import Plan
from s1sweep.queue import feasible
from s1sweep.queue.code import freeze, freeze_inputs
from s1sweep.queue.submission import Submission, Submissions, new_id, user
from s1sweep.spec import CellConfig
from s1sweep.store import Sweep


def submit_plan(
    sweep: Sweep,
    plan: Plan,
    config: CellConfig,
    command: tuple[str, ...],
    priority: int,
    retry_failed: bool,
    expected: Mapping[str, float],
) -> dict[str, Any]:
    """Queue a plan, with the seconds that stages are expected to take. Raises UserError, with nothing written, for what
    the cluster can never run.
    """
    store, placement = sweep.store, config.placement
    queue = Submissions(store)
    missing = plan.needed(plan.reused(store))
    notes = feasible.check(missing, placement, config.tracking, queue.last_heartbeat(placement.cluster), store.url)
    if queue.service(placement.cluster) is None:
        notes.append(f"no service of cluster {placement.cluster} is up: start one with `s1sweep serve`")
    if retry_failed:
        for name in missing:
            store.clear_failure(name)
    now = time.time()
    submission = Submission(
        id=new_id(sweep.name, command, now),
        sweep=sweep.name,
        user=user(),
        host=socket.gethostname(),
        submitted=now,
        priority=priority,
        command=command,
        placement=placement,
        tracking=config.tracking,
        stages={name: freeze_inputs(store, stage) for name, stage in plan.stages.items()},
        code=freeze(store),
        expected=expected,
    )
    sweep.open(config.notes, config.tags, [claim.model_dump(mode="json") for claim in config.claims])
    sweep.add(cell.as_json() for cell in plan.cells)
    queue.add(submission)
    return {
        "id": submission.id,
        "sweep": sweep.name,
        "cells": len(plan.cells),
        "stages": len(plan.stages),
        "to_run": len(missing),
        "notes": notes,
    }
