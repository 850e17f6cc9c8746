"""Writes a sweep's W&B report and workspace as files and, with an API key, saves both in W&B.

What was saved is saved over itself the next time. Knows nothing of what they show.

    <sweep>/wandb_report.json, wandb_workspace.json     what W&B is given, and under which id it keeps it
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from s1sweep.errors import UserError
from s1sweep.identity import digest
from s1sweep.store import Sweep
from s1sweep.tracking import wandb_report
from s1sweep.tracking.receipt import Receipt
from s1sweep.tracking.wandb_report import Place

REPORT, WORKSPACE = "wandb_report.json", "wandb_workspace.json"


def publish(sweep: Sweep, entity: str | None = None, project: str | None = None) -> list[str]:
    """Write both specs into the sweep's folder and save them if W&B can be reached; returns lines for the terminal.

    Raises UserError if the project is not known, or there is a key and the entity is not known or saving fails.
    """
    from s1sweep.tracking import live

    where, receipt = place(sweep, entity, project), Receipt(sweep.dir, "")
    views = _Views(sweep, where)
    views.build({name: _chart_id(where, name) for name in wandb_report.charts()})
    views.write()
    lines = [f"W&B: {sweep.dir / name}" for name in (REPORT, WORKSPACE)]
    with live.session(sweep.dir / "wandb"):
        offline = os.environ.get("WANDB_MODE", "").lower() in ("offline", "dryrun", "disabled")
        if why := f"WANDB_MODE={os.environ['WANDB_MODE']}" if offline else live.obstacle():
            again = shlex.join(["s1sweep", "report", sweep.name, "--to", "wandb", "--root", sweep.store.url])
            again += "" if where.entity else " --entity NAME"
            return [*lines, f"W&B: not saved, {why}. To save them later, with a key: {again}"]
        if where.entity is None:
            raise UserError(
                "entity is not given: a report belongs to a user or a team of W&B. Give --entity NAME, set "
                f"WANDB_ENTITY, or publish with tracking.entity=NAME. The specs are in {sweep.dir}."
            )
        try:
            lines += views.save()
        except Exception as error:  # whatever wandb raises
            first = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UserError(f"W&B did not take the report of {sweep.name!r}: {first}. Specs: {sweep.dir}.") from error
    if waiting := receipt.waiting():
        lines.append(f"W&B: panels stay empty until {waiting} offline runs are uploaded: {receipt.sync_command()}")
    return lines


def place(sweep: Sweep, entity: str | None = None, project: str | None = None) -> Place:
    """What was asked for, else the environment, else where tracking put the sweep's runs. Raises UserError."""
    targets = [entry["target"] for entry in Receipt(sweep.dir, "").entries.values()]
    theirs, _, known = (targets[-1] if targets else "/").partition("/")
    project = project or os.environ.get("WANDB_PROJECT") or known
    if not project:
        raise UserError(
            f"project is not given, and nothing of sweep {sweep.name!r} was published that would name it. Give "
            "--project NAME, set WANDB_PROJECT, or run with tracking=wandb_offline or tracking=wandb_online first."
        )
    return Place(entity or os.environ.get("WANDB_ENTITY") or theirs or None, project)


class _Views:
    """The report and the workspace on their way into files and W&B."""

    def __init__(self, sweep: Sweep, where: Place) -> None:
        self.sweep, self.where = sweep, where
        self.known = {name: self._read(name) for name in (REPORT, WORKSPACE)}

    def build(self, chart_ids: Mapping[str, str]) -> None:
        self.chart_ids = chart_ids
        self.report = wandb_report.report(self.sweep, self.where, chart_ids)
        self.workspace = wandb_report.workspace(self.sweep, self.where, chart_ids)
        self.report.id = self.known[REPORT].get("id", "")
        self.workspace._internal_id = self.known[WORKSPACE].get("id", "")
        self.workspace._internal_name = self.known[WORKSPACE].get("name", "")

    def save(self) -> list[str]:
        """In W&B, with presets for the charts first. Raises what wandb raises."""
        lines = []
        taken = {}
        for name, spec in wandb_report.charts().items():
            try:
                taken[name] = _register(self.chart_ids[name], spec)
            except Exception as error:  # a server without custom charts can still show the rest
                why = f"{type(error).__name__}: {error}".splitlines()[0]
                lines.append(f"W&B: no chart {name!r} with intervals ({why}).")
        if taken != self.chart_ids:
            self.build(taken)
        self.report.save()
        self.workspace.save()
        self.known = {
            REPORT: {"id": self.report.id, "url": self.report.url},
            WORKSPACE: {
                "id": self.workspace._internal_id,
                "name": self.workspace._internal_name,
                "url": self.workspace.url,
            },
        }
        self.write()
        return [*lines, *(f"W&B: {self.known[name]['url']}" for name in (REPORT, WORKSPACE))]

    def write(self) -> None:
        """Files that hold all that W&B is given, so that it can be read and checked without W&B."""
        specs = wandb_report.charts()
        presets = {chart_id: specs[name] for name, chart_id in self.chart_ids.items()}
        for name, built in ((REPORT, self.report), (WORKSPACE, self.workspace)):
            spec = json.loads(built._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))
            content = {
                "entity": self.where.entity,
                "project": self.where.project,
                "title": built.title if name == REPORT else built.name,
                **self.known[name],
                "charts": presets,
                "spec": spec,
            }
            (self.sweep.dir / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _read(self, name: str) -> dict[str, Any]:
        """What W&B called it when it was saved to the same place."""
        with suppress(FileNotFoundError, json.JSONDecodeError):
            old = json.loads((self.sweep.dir / name).read_text(encoding="utf-8"))
            if (old["entity"], old["project"]) == (self.where.entity, self.where.project):
                return {key: old[key] for key in ("id", "name", "url") if key in old}
        return {}


def _chart_id(where: Place, name: str) -> str:
    """A preset's id in W&B. It ends in the spec's hash: presets are not changed, so another spec is another preset."""
    return f"{where.entity or 'ENTITY'}/s1sweep-{name}-{digest(wandb_report.charts()[name])[:8]}"


def _register(chart_id: str, spec: Mapping[str, Any]) -> str:
    """Make a preset that is not there yet; returns its id. Raises what wandb raises."""
    import wandb

    entity, name = chart_id.split("/")
    try:
        return wandb.Api().create_custom_chart(
            entity=entity, name=name, display_name=name, spec_type="vega2", access="private", spec=dict(spec)
        )
    except Exception as error:
        if re.search("exist|duplicate|unique", str(error), re.IGNORECASE):
            return chart_id
        raise
