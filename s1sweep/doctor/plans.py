"""Whether the sweep can be planned, and whether the machine has what one of its jobs asks for."""

from __future__ import annotations

from collections.abc import Iterator

from s1sweep.doctor.base import Asked, CheckResult
from s1sweep.errors import UserError
from s1sweep.session import Session
from s1sweep.sources.tasks import questions


def planned(asked: Asked) -> Iterator[CheckResult]:
    """Cells, files and subsets are good."""
    try:
        session = asked.session
    except UserError as error:
        yield CheckResult("plan", "fault", str(error), "Mend the overrides, or the file that is named.")
        return
    for task in {cell.task.model_dump_json(): cell.task for cell in asked.cells if cell.task.hub is None}.values():
        questions(task)
    missing = len(session.missing())
    yield CheckResult("plan", "ok", f"{len(asked.configs)} cells, {len(session.plan.stages)} stages, {missing} to run")


def placed(asked: Asked) -> Iterator[CheckResult]:
    """Asked of the placement alone, so that it speaks where planning fails."""
    here = asked.placement
    where = f"at {here.ray_address}" if asked.on_a_cluster else "on this machine"
    try:
        Session(command=asked.command, run=False, config=asked.configs[0]).feasible()
    except UserError as error:
        todo = "Choose another placement, or change the fields that are named."
        yield CheckResult("placement", "fault", str(error), todo)
    else:
        yield CheckResult("placement", "ok", f"{here.name}: {here.backend} {where}")
