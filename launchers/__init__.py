"""Ways to get a cluster, and to run one command on its head node inside it.

`render` gives exactly what `submit` would hand over. Launchers know the spec of a launch and the tools of their world;
what the command does they do not know. What each adds is in its module: `render`, `submit`, `after`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from s1sweep.launchers.base import check
from s1sweep.spec.launch import Launch


def render(launch: Launch, command: Sequence[str]) -> str:
    """What would be submitted: a script, a manifest, a task. Raises UserError on a launch that cannot work."""
    check(launch, command)
    return str(_module(launch).render(launch, command))


def submit(launch: Launch, command: Sequence[str]) -> str:
    """Submit what `render` shows. Returns the job's id. Raises UserError with the tool's own words."""
    check(launch, command, submitting=True)
    return str(_module(launch).submit(launch, command))


def after(launch: Launch, job: str) -> str:
    """How to see and stop a submitted job with the tools of its world."""
    return str(_module(launch).after(launch, job))


def _module(launch: Any) -> Any:
    return import_module(f"s1sweep.launchers.{launch.kind}")
