"""A W&B report and workspace of a sweep, built from the views that tracking publishes, so that names always agree.

Building needs neither key nor network. Computes no number, and knows nothing of how runs or reports get to W&B.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from s1sweep.analysis import claims
from s1sweep.analysis.study import Study
from s1sweep.analysis.trainings import trainings
from s1sweep.errors import UserError
from s1sweep.spec import Tracking
from s1sweep.store import Sweep
from s1sweep.tracking import wandb_text
from s1sweep.tracking.views import View, runs

CHARTS = Path(__file__).parent / "charts"
CURVE = (
    ("accuracy", "Accuracy"),
    ("forced_share", "Share of answers whose thinking was cut"),
    ("mean_answer_tokens", "Tokens of the answer"),
    ("mean_total_tokens", "All tokens of an answer"),
)
TRAINING = (
    ("loss", "Training loss"),
    ("learning_rate", "Learning rate"),
    ("grad_norm", "Gradient norm"),
    ("tokens_per_second", "Tokens per second"),
    ("memory_gb", "Memory, GB"),
    ("reward", "Reward"),
    ("kl", "KL to the start"),
)
COLUMNS = (
    *("run:displayName", "config:arm.value", "config:control.value", "config:task.value.name", "summary:accuracy"),
    *("summary:ci_low", "summary:ci_high", "summary:thinking_tokens", "summary:best_accuracy", "summary:missing"),
)


@dataclass(frozen=True)
class Place:
    """Where in W&B; `entity` is a user or a team, and needed only to save."""

    entity: str | None
    project: str


@dataclass(frozen=True)
class SavedReport:
    """The sweep's runs as tracking shows them: job type -> views."""

    views: Mapping[str, Sequence[View]]

    def metrics(self, job_type: str, known: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those of `known` (name, title) that some run has in its history."""
        found = {name for view in self.views[job_type] for block in view.blocks for row in block for name in row}
        return [(name, title) for name, title in known if name in found]

    def summarised(self, job_type: str, name: str) -> bool:
        """Whether some run has a number of that name in its summary; `a.b` is b within a."""
        group, _, key = name.partition(".")
        return any(key in view.summary.get(group, {}) if key else name in view.summary for view in self.views[job_type])

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(view.config["task"]["name"] for view in self.views["eval"]))


def charts() -> dict[str, dict[str, Any]]:
    """Vega-Lite specs of the charts with intervals, which W&B has no panel for: name -> spec."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(CHARTS.glob("*.json"))}


def published(sweep: Sweep) -> SavedReport:
    """What tracking shows of trainings and series, without the samples, whose files are large.

    The sweep's own run is left out: to view it writes the file of its results.
    """
    shown = Tracking(mode="offline", project="-", entity=None, samples_per_series=0, upload_checkpoints=False)
    views: dict[str, list[View]] = {"train": [], "eval": []}
    for run in runs(sweep, shown):
        if run.job_type in views:
            views[run.job_type].append(run.view())
    return SavedReport(views)


# --- what they show


def report(sweep: Sweep, where: Place, chart_ids: Mapping[str, str]) -> Any:
    """A `wandb_workspaces.reports.v2.Report`. `chart_ids`: chart -> id of its preset; others are left out."""
    import wandb_workspaces.reports.v2 as wr

    study, shown = Study.of(sweep), published(sweep)
    grid, text = partial(_grid, sweep.name), wr.MarkdownBlock
    series = [{**view.summary, **_told(view)} for view in shown.views["eval"]]
    blocks = [
        wr.TableOfContents(),
        *([text(notes)] if (notes := sweep.info().notes) else []),
        *(wr.H1("Claims"), text(_claims(study))),
        wr.H1("Accuracy against thinking tokens"),
    ]
    for task in shown.tasks:
        blocks += [wr.H2(task), grid("eval", [*_curves(shown), *_chart("curves", chart_ids, task)], task, "arm")]
    blocks += [wr.H1("Subsets"), text(wandb_text.longest_text(series))]
    for task in shown.tasks:
        bars = wr.BarPlot(title=f"{task}: accuracy at the longest thinking", metrics=["accuracy"], range_x=(0, 1))
        best = wr.ScatterPlot(
            title=f"{task}: best accuracy, and where",
            x=wr.SummaryMetric("best_thinking_tokens"),
            y=wr.SummaryMetric("best_accuracy"),
        )
        blocks.append(grid("eval", [bars, best, *_chart("subsets", chart_ids, task)], task))
    blocks += [wr.H1("Training"), text(wandb_text.trainings_text(trainings(sweep.store, study.cells)))]
    if shown.views["train"]:
        blocks.append(grid("train", _training(shown), None, "arm"))
    blocks.append(wr.H1("Samples"))
    for task in shown.tasks:
        blocks += [wr.H2(task), grid("eval", [_table("samples")], task)]
    spent = [("total_tokens", "eval", "Tokens, had each run alone"), ("cost.train_seconds", "train", "Seconds")]
    blocks += [
        *(wr.H1("Noise floor"), text(wandb_text.noise_text(study.cells))),
        *(wr.H1("Cost"), text(wandb_text.cost_text(study.cells))),
        *(grid(job, [wr.BarPlot(title=title, metrics=[name])]) for name, job, title in spent if shown.views[job]),
        *(wr.H1("Cells"), text(wandb_text.missing_text(study.cells) or "No cell is missing.")),
        grid("sweep", [_table("cells")]),
    ]
    return wr.Report(
        project=where.project,
        entity=where.entity or "",
        title=f"{sweep.name}: accuracy and thinking tokens"[:128],
        description="Made by `s1sweep report --to wandb` from the sweep's records.",
        blocks=blocks,
        width="fluid",
    )


def _claims(study: Study) -> str:
    try:
        return wandb_text.claims_text(claims.findings(study))
    except UserError as error:  # a claim that leaves open which cells it speaks of takes nothing else away
        return str(error)


def workspace(sweep: Sweep, where: Place, chart_ids: Mapping[str, str]) -> Any:
    """A `wandb_workspaces.workspaces.Workspace` that shows the runs of the sweep and nothing else."""
    import wandb_workspaces.workspaces as ws

    shown = published(sweep)
    curves = [*_curves(shown), *_chart("curves", chart_ids, sweep.name)]
    sections = [
        ws.Section(name="Accuracy against thinking tokens", panels=curves, is_open=True, pinned=True),
        ws.Section(name="Subsets", panels=_chart("subsets", chart_ids, sweep.name), is_open=True),
        ws.Section(name="Training", panels=_training(shown)),
        ws.Section(name="Samples", panels=[_table("samples")]),
        ws.Section(name="Cells", panels=[_table("cells")]),
    ]
    return ws.Workspace(
        entity=where.entity or "",
        project=where.project,
        name=f"{sweep.name}: s1sweep",
        sections=[section for section in sections if section.panels],
        settings=ws.WorkspaceSettings(max_runs=50),
        runset_settings=ws.RunsetSettings(filters=_filter(sweep.name), pinned_columns=list(COLUMNS)),
    )


def _filter(sweep: str, job_type: str | None = None, task: str | None = None) -> str:
    """An expression over runs. W&B keeps a config key's value below `value`, and its app writes such filters so."""
    parts = [f'Config("sweep.value") == {json.dumps(sweep)}']
    parts += [f'Metric("JobType") == {json.dumps(job_type)}'] if job_type else []
    parts += [f'Config("task.value.name") == {json.dumps(task)}'] if task else []
    return " and ".join(parts)


def _grid(sweep: str, job_type: str, panels: Sequence[Any], task: str | None = None, by: str | None = None) -> Any:
    """Panels over the runs of one kind, and one task. A runset that named its entity would be looked up online."""
    import wandb_workspaces.reports.v2 as wr

    keys = {"eval": ["config.arm", "config.control"], "train": ["config.arm"]}
    runset = wr.Runset(
        name=task or {"eval": "series", "train": "trainings", "sweep": "sweep"}[job_type],
        filters=_filter(sweep, job_type, task),
        groupby=keys[job_type] if by else [],
    )
    return wr.PanelGrid(runsets=[runset], panels=_placed(panels))


def _placed(panels: Sequence[Any]) -> list[Any]:
    """Two panels side by side; a table has the whole width."""
    import wandb_workspaces.reports.v2 as wr

    y = x = 0
    for panel in panels:
        wide = isinstance(panel, wr.WeavePanelSummaryTable | wr.CustomChart)
        if wide and x:
            x, y = 0, y + 8
        panel.layout = wr.Layout(x=x, y=y, w=24 if wide else 12, h=12 if wide else 8)
        x, y = (0, y + panel.layout.h) if wide or x else (12, y)
    return list(panels)


def _curves(shown: SavedReport) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    names = shown.metrics("eval", CURVE)
    return [
        wr.LinePlot(title=f"{title} against thinking tokens", x="thinking_tokens", y=[name], title_x="thinking tokens")
        for name, title in names
    ]


def _training(shown: SavedReport) -> list[Any]:
    import wandb_workspaces.reports.v2 as wr

    names = shown.metrics("train", TRAINING)
    return [wr.LinePlot(title=title, x="step", y=[name], title_x="optimizer step") for name, title in names]


def _table(name: str) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.WeavePanelSummaryTable(table_name=name)


FIELDS = {"x": "thinking_tokens", "y": "accuracy", "low": "ci_low", "high": "ci_high", "n": "n", "line": "series"}


def _chart(name: str, chart_ids: Mapping[str, str], title: str) -> list[Any]:
    """The chart over the runs' tables `points`, if there is a preset for it."""
    import wandb_workspaces.reports.v2 as wr

    if name not in chart_ids:
        return []
    more = {"curves": {"colour": "arm", "dash": "control"}, "subsets": {"arm": "arm", "colour": "control"}}[name]
    return [
        wr.CustomChart(
            query={"summaryTable": {"tableKey": "points"}},
            chart_name=chart_ids[name],
            chart_fields={**FIELDS, **more},
            chart_strings={"title": f"{title}: accuracy with 95 % intervals"},
        )
    ]


def _told(view: View) -> dict[str, Any]:
    return {"task": view.config["task"]["name"], "arm": view.config["arm"], "control": view.config["control"]}
