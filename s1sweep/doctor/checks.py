"""Whether a sweep can run on this machine, and what to do where it cannot: `s1sweep doctor`.

Each check really tries what it speaks of, changes nothing that lasts, and prints no secret. What breaks when it is
imported or started is tried in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from s1sweep.doctor.base import Asked, Check, CheckResult, first_line, without_secrets
from s1sweep.doctor.cluster import ray_starts
from s1sweep.doctor.environment import companions, libraries, python
from s1sweep.doctor.machine import clock, gpus, open_files, shared_memory
from s1sweep.doctor.mirror import wandb_mode
from s1sweep.doctor.plans import placed, planned
from s1sweep.doctor.sources import repositories, weights
from s1sweep.doctor.storage import disk_space, store_is_writable
from s1sweep.errors import UserError

# The quick ones first: what is wrong there explains much of what follows.
CHECKS: dict[str, Check] = {
    "python": python,
    "plan": planned,
    "placement": placed,
    "store": store_is_writable,
    "disk": disk_space,
    "clock": clock,
    "shared memory": shared_memory,
    "open files": open_files,
    "gpus": gpus,
    "hub": repositories,
    "weights": weights,
    "wandb": wandb_mode,
    "companions": companions,
    "libraries": libraries,
    "ray": ray_starts,
}


def ask(overrides: Sequence[str]) -> Asked | None:
    """The sweep of a command line; None where Hydra was only asked to show something. Raises UserError on a typo."""
    from s1sweep.compose import cells_of

    configs = cells_of(overrides)
    return Asked(tuple(overrides), configs) if configs else None


def examine(asked: Asked) -> Iterator[CheckResult]:
    """All that the checks find, as they find it."""
    for name, check in CHECKS.items():
        try:
            found: Iterable[CheckResult] = list(check(asked))
        except UserError as error:
            found = [CheckResult(name, "fault", str(error))]
        except Exception as error:  # a broken machine must not keep the other checks from speaking
            found = [
                CheckResult(name, "fault", f"could not be checked ({first_line(error)})", "Report it with --json.")
            ]
        for finding in found:
            yield replace(finding, said=without_secrets(finding.said), todo=without_secrets(finding.todo))


def can_run(findings: Iterable[CheckResult]) -> bool:
    return all(finding.level != "fault" for finding in findings)
