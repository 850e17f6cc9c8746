"""W&B reports and workspaces: read back with W&B's own classes, held against published runs, and saved to a server."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from s1sweep.analysis import exhibits
from s1sweep.analysis.claims import Finding
from s1sweep.analysis.study import Study
from s1sweep.cli import main
from s1sweep.errors import UserError
from s1sweep.store import Store, Sweep
from s1sweep.tracking import publish, wandb_report, wandb_save, wandb_text
from tests.helpers import ROOT, cli, compose
from tests.test_tracking import CANARY, CAPS, OFFLINE, Mirrored, Server, fabricate, mirrored
from tests.test_tracking import server as server  # a fixture

wr = pytest.importorskip("wandb_workspaces.reports.v2")
ws = pytest.importorskip("wandb_workspaces.workspaces")
TASKS = ("data=random,longest", "data.size=64", "extrapolation=none,wait", "task=tiny_calc,tiny_hard", "task.limit=6")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The store of two arms, two controls, two tasks and two caps, published offline to project `p`; a cell is missing.

    Made once: each test has a copy.
    """
    root = tmp_path_factory.mktemp("made") / "store"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_MODE", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_API_KEY"):
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(root.parent))
        sweep = fabricate(root, *TASKS, CAPS)
        fabricate(root, *TASKS[1:3], "data=random", "task=tiny_calc", "task.limit=5", undone=["decode", "grade"])
        publish(sweep, OFFLINE)
        yield root


@pytest.fixture
def swept(made: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    shutil.copytree(made, root, symlinks=True, dirs_exist_ok=True)
    return Store(root).sweep("s")


def read_back(sweep: Sweep) -> tuple[Any, Any]:
    """The report and the workspace, by W&B's classes, from the files."""
    from wandb_workspaces.reports.v2 import internal
    from wandb_workspaces.workspaces import internal as ws_internal

    page, view = (json.loads((sweep.dir / name).read_text()) for name in (wandb_save.REPORT, wandb_save.WORKSPACE))
    project = {"name": page["project"], "entityName": page["entity"] or ""}
    model = internal.ReportViewspec(display_name=page["title"], project=project, spec=page["spec"])
    spec = ws_internal.WorkspaceViewspec.model_validate(view["spec"])
    place = {"entity": view["entity"] or "", "project": view["project"]}
    named = ws_internal.View(**place, display_name=view["title"], name="n", id="i", spec=spec)
    return wr.Report._from_model(model), ws.Workspace._from_model(named)


# --- what W&B would show


def config_value(run: Mirrored, key: str) -> Any:
    """As the server stores a config: each first key holds its value under `value`."""
    found: Any = {name: {"value": value} for name, value in run.config.items()}
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def matched(filters: str, runs: Sequence[Mirrored]) -> list[Mirrored]:
    from wandb_workspaces import expr

    def holds(run: Mirrored, item: Mapping[str, Any]) -> bool:
        assert item["op"] == "=" and item.get("connector", "AND") == "AND" and not item["disabled"]
        section, name = item["key"]["section"], item["key"]["name"]
        assert section == "config" or name == "jobType"
        return bool((config_value(run, name) if section == "config" else run.run.job_type) == item["value"])

    items = expr.filters_tree_to_v2(expr.expr_to_filters(filters))["filters"]
    return [run for run in runs if all(holds(run, item) for item in items)]


def tables(run: Mirrored) -> set[str]:
    """Names of the tables in its summary, which hide behind a number of the same name."""
    return {name.removesuffix("._type") for name in run.summary if name.endswith("._type")} - run.summary.keys()


def check(panel: Any, runs: Sequence[Mirrored]) -> None:
    """Every name that a panel reads is in some run that it is given."""
    history = {name for run in runs for row in run.history for name in row}
    summary = {name for run in runs for name in run.summary}
    for run in runs:
        for name, value in run.summary.items():
            summary |= {f"{name}.{key}" for key in value} if isinstance(value, dict) else set()
    if isinstance(panel, wr.LinePlot):
        assert {panel.x.name, *(y.name for y in panel.y)} <= history and panel.y
    elif isinstance(panel, wr.BarPlot):
        assert {metric.name for metric in panel.metrics} <= summary and panel.metrics
    elif isinstance(panel, wr.ScatterPlot):
        assert {panel.x.name, panel.y.name} <= summary
    elif isinstance(panel, wr.CustomChart):
        name = panel.query["summaryTable"]["tableKey"]
        having = [run for run in runs if name in tables(run)]
        assert having and all({*panel.chart_fields.values()} <= run.table(name)[0].keys() for run in having)
    else:
        assert isinstance(panel, wr.WeavePanelSummaryTable) and any(panel.table_name in tables(run) for run in runs)
        assert not any(panel.table_name in run.summary for run in runs)  # W&B would show the number


def test_panels_show_what_runs_have(swept: Sweep) -> None:
    wandb_save.publish(swept)
    runs = [run for found in mirrored(swept).values() for run in found]
    others = [run for found in mirrored(swept).values() for run in found]
    for run in others:  # of another sweep of the project
        run.id, run.config["sweep"] = f"other-{run.id}", "other"
    page, view = read_back(swept)
    grids = [block for block in page.blocks if isinstance(block, wr.PanelGrid)]
    shown: set[str] = set()
    kinds = set()
    for grid in grids:
        (runset,) = grid.runsets
        mine = matched(runset.filters, [*runs, *others])
        assert mine and not {run.id for run in mine} & {run.id for run in others}
        assert len({run.run.job_type for run in mine}) == 1
        if runset.name in ("tiny_calc", "tiny_hard"):
            assert {run.config["task"]["name"] for run in mine} == {runset.name} and len(mine) >= 4
        for key in runset.groupby:
            assert all(config_value(run, key.removeprefix("config.")) is not None for run in mine)
        for panel in grid.panels:
            check(panel, mine)
            kinds.add(type(panel).__name__)
        shown |= {run.id for run in mine}
    assert shown == {run.id for run in runs}
    assert kinds == {"LinePlot", "BarPlot", "ScatterPlot", "CustomChart", "WeavePanelSummaryTable"}
    grouped = [grid.runsets[0].groupby for grid in grids]
    assert ["config.arm.value", "config.control.value"] in grouped and ["config.arm.value"] in grouped
    lines = {y.name for grid in grids for panel in grid.panels if isinstance(panel, wr.LinePlot) for y in panel.y}
    assert {"accuracy", "forced_share", "loss", "learning_rate", "grad_norm", "tokens_per_second"} <= lines

    mine = matched(view.runset_settings.filters, [*runs, *others])
    assert {run.id for run in mine} == {run.id for run in runs}
    for section in view.sections:
        for panel in section.panels:
            check(panel, mine)
    for column in view.runset_settings.pinned_columns[1:]:
        section, name = column.split(":")
        values = [config_value(run, name) if section == "config" else run.summary.get(name) for run in mine]
        assert any(value is not None for value in values), column


def test_the_words(swept: Sweep) -> None:
    wandb_save.publish(swept)
    page, _ = read_back(swept)
    texts = [block.text for block in page.blocks if isinstance(block, wr.MarkdownBlock)]
    headings = [block.text for block in page.blocks if isinstance(block, wr.H1)]
    assert headings[:3] == ["Claims", "Accuracy against thinking tokens", "Subsets"]
    assert {"Training", "Samples", "Noise floor", "Cost", "Cells"} == {*headings[3:]}
    told = "\n".join(texts)
    assert "declares no claims" in told and "noise floor is not known" in told and "not run yet" in told
    points = [row for run in mirrored(swept)["eval"] for row in run.table("points")]
    longest = [row for row in points if row["series"].startswith("random-64 wait tiny_hard")][-1]
    interval = f"[{100 * longest['ci_low']:.1f}, {100 * longest['ci_high']:.1f}]"
    assert f"| tiny_hard | random-64 | wait | {longest['thinking_tokens']:,.0f} |" in told and interval in told


def test_claims_as_a_table() -> None:
    found = Finding("s1k less random", "tiny_calc", "accuracy", {"data": "s1k"}, {"data": "random"}, {})
    measured = replace(found, value=5.0, low=1.25, high=8.75, p=0.0004, holm=0.012, bh=0.01, n="80 questions")
    text = wandb_text.claims_text([measured, replace(found, where="a|b", why="no cell of s1k")])
    rows = text.split("\n\n")[0].splitlines()
    assert rows[2].split(" | ")[3:] == [
        *("+5.0 points", "[+1.2, +8.8]", "< 0.001", "0.012", "0.010", "80 questions", "checkpoints |")
    ]
    assert "a\\|b" in rows[3] and "no cell of s1k" in rows[3]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_declared_claims_are_tested(swept: Sweep) -> None:
    at = {"extrapolation": "wait", "task.limit": 6, "method.max_thinking_tokens": [32, 128]}
    claim = {"contrast": {"data": "longest"}, "baseline": {"data": "random"}, "points": {"task": "tiny_hard", **at}}
    swept.open("", [], [claim, {**claim, "contrast": {"data": "s1k"}}])
    told = wandb_report._claims(Study.of(swept)).split("\n\n")[0].splitlines()[2:]
    assert len(told) == 4
    assert all(row.startswith("| longest − random |") and "+0.0 points" in row for row in told[:2])  # the same answers
    assert all("| s1k − random |" in row and "points |" not in row for row in told[2:])
    swept.open("", [], [{"contrast": {"data": "longest"}, "baseline": {"data": "random"}}])
    assert "differ in" in wandb_report._claims(Study.of(swept))  # one claim that says too little costs no report


def test_building_needs_no_network(swept: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    where = wandb_report.Place(None, "p")
    assert wandb_report.report(swept, where, {}).blocks and wandb_report.workspace(swept, where, {}).sections


def test_charts_are_told_every_field() -> None:
    for name, spec in wandb_report.charts().items():
        (panel,) = wandb_report._chart(name, {name: "e/c"}, "title")
        asked = re.findall(r"\$\{(field|string):(\w+)\}", json.dumps(spec))
        assert {key for kind, key in asked if kind == "field"} <= panel.chart_fields.keys()
        assert {key for kind, key in asked if kind == "string"} == panel.chart_strings.keys()
        assert spec["data"] == {"name": "wandb"}


# --- saving


def test_without_a_key_the_command_says_how(swept: Sweep) -> None:
    root = swept.store.root
    done = cli("report", "s", "--to", "wandb", root=root, WANDB_API_KEY="")
    assert done.returncode == 0, done.stderr
    assert str(swept.dir / "wandb_report.json") in done.stdout and "no API key" in done.stdout
    assert f"s1sweep report s --to wandb --root {root} --entity NAME" in done.stdout
    page = json.loads((swept.dir / "wandb_report.json").read_text())
    assert (page["entity"], page["project"]) == (None, "p") and len(page["charts"]) == 2 and "id" not in page


def test_saved_with_a_key_and_saved_again(swept: Sweep, server: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = wandb_save.publish(swept, entity="team")
    urls = [line.removeprefix("W&B: ") for line in lines if "http" in line]
    assert len(urls) == 2 and "/team/p/reports/" in urls[0] and "/team/p?nw=" in urls[1]
    assert "offline runs are uploaded" in lines[-1] and server.projects == ["p"]
    kinds = {view["type"]: view for view in server.views.values()}
    assert kinds.keys() == {"runs", "project-view"}
    for name, kind in ((wandb_save.REPORT, "runs"), (wandb_save.WORKSPACE, "project-view")):
        on_disk = json.loads((swept.dir / name).read_text())
        assert json.loads(kinds[kind]["spec"]) == on_disk["spec"] and kinds[kind]["entityName"] == "team"
        assert on_disk["charts"] == server.charts and len(server.charts) == 2
    used = re.findall(r'"panelDefId": "([^"]+)"', json.dumps(json.loads(kinds["runs"]["spec"])))
    assert {*used} == {*server.charts} and all(chart.startswith("team/s1sweep-") for chart in used)

    server.refused["CreateCustomChart"] = "chart with this name already exists"
    monkeypatch.setenv("WANDB_ENTITY", "team")
    assert [line for line in wandb_save.publish(swept) if "http" in line] == [f"W&B: {url}" for url in urls]
    assert len(server.views) == 2
    wandb_save.publish(swept, entity="other")
    assert len(server.views) == 4
    assert not [p for p in swept.store.root.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()]


def test_a_server_without_custom_charts(swept: Sweep, server: type[Server]) -> None:
    server.refused["CreateCustomChart"] = "Cannot query field createCustomChart"
    lines = wandb_save.publish(swept, entity="team")
    assert sum("no chart" in line for line in lines) == 2 and sum("http" in line for line in lines) == 2
    assert all("Vega2" not in view["spec"] and "accuracy" in view["spec"] for view in server.views.values())


def test_a_refused_report_is_one_message(swept: Sweep, server: type[Server]) -> None:
    server.refused["upsertView"] = "permission denied for team"
    with pytest.raises(UserError, match=r"did not take the report of 's'.*permission denied"):
        wandb_save.publish(swept, entity="team")
    assert (swept.dir / "wandb_report.json").exists()


def test_a_report_needs_an_entity_to_be_saved(swept: Sweep, server: type[Server]) -> None:
    with pytest.raises(UserError, match=r"entity is not given.*--entity NAME.*WANDB_ENTITY.*tracking.entity"):
        wandb_save.publish(swept)
    assert not server.views and (swept.dir / "wandb_report.json").exists()


def test_where_a_report_goes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = fabricate(root, "data=random", *TASKS[1:2], "task=tiny_calc", "task.limit=6")
    with pytest.raises(UserError, match=r"project is not given.*WANDB_PROJECT.*tracking=wandb_offline"):
        wandb_save.place(sweep)
    assert wandb_save.place(sweep, project="asked") == wandb_report.Place(None, "asked")
    publish(sweep, OFFLINE.model_copy(update={"entity": "mine"}))
    sweep = Store(root).sweep("s")
    assert wandb_save.place(sweep) == wandb_report.Place("mine", "p")
    monkeypatch.setenv("WANDB_ENTITY", "theirs")
    monkeypatch.setenv("WANDB_PROJECT", "q")
    assert wandb_save.place(sweep) == wandb_report.Place("theirs", "q")
    assert wandb_save.place(sweep, "e", "f") == wandb_report.Place("e", "f")


# --- docs/analysts.md


def test_the_questions_name_what_is_published(swept: Sweep) -> None:
    wandb_save.publish(swept)
    page, _ = read_back(swept)
    panels = [panel for block in page.blocks if isinstance(block, wr.PanelGrid) for panel in block.panels]
    titles = {panel.title.replace("tiny_calc", "TASK") for panel in panels if getattr(panel, "title", None)}
    headings = {block.text for block in page.blocks if isinstance(block, wr.H1)}
    text = (ROOT / "docs" / "analysts.md").read_text(encoding="utf-8")
    named = {name for name in re.findall(r"\*\*(.+?)\*\*", text) if name != "bold"}
    assert len(named) > 15 and named <= titles | headings, named - titles - headings


def test_the_questions_give_commands_that_exist() -> None:
    text = (ROOT / "docs" / "analysts.md").read_text(encoding="utf-8")
    commands = [line.split("#")[0].split()[1:] for line in text.splitlines() if line.startswith(" " * 8 + "s1sweep ")]
    assert len(commands) > 15
    for name, *arguments in commands:
        known = {option for parameter in main.commands[name].params for option in parameter.opts}
        assert {a for a in arguments if a.startswith("--")} <= known, (name, arguments)
        if name == "show":
            assert arguments[0] in exhibits.NAMES
        if name == "run":
            overrides = [a for a in arguments if not a.startswith("-")]
            assert compose(*overrides)
