"""`run`, `plan`, `launch`, and what a store holds: `status`, `ls`, `explain`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

import click

from s1sweep import api
from s1sweep.cli.options import HYDRA, JSON, OVERRIDES, ROOT, SWEEP
from s1sweep.cli.simulate import estimate_text
from s1sweep.errors import UserError


class WithCommand(click.Command):
    """Takes what stands after `--` apart, as a command to run."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        cut = args.index("--") if "--" in args else len(args)
        ctx.obj = tuple(args[cut + 1 :])
        return super().parse_args(ctx, args[:cut])


@click.command(context_settings=HYDRA)
@click.option("--retry-failed", is_flag=True, help="Take up stages that failed in earlier runs.")
@click.option("--force", metavar="STAGE", help="Redo a stage (an id or its beginning) and all that hangs on it.")
@OVERRIDES
def run(overrides: Sequence[str], retry_failed: bool, force: str | None) -> None:
    """Run a grid of cells: what of it is not done yet.

    s1sweep run -m data=random,diverse extrapolation=none,wait task=tiny_calc

    OVERRIDES are Hydra's: group=choice, field=value, -m for several values, experiment=..., hydra/sweeper=...
    """
    from s1sweep.cli.display import Display
    from s1sweep.compose import multirun
    from s1sweep.session import Session

    with Session(command=tuple(overrides), run=True, retry_failed=retry_failed, force=force, show=Display) as session:
        outcome = multirun(overrides, session)
        if session.config is None:
            return  # --cfg and --info only show
        _after_run(session, outcome)


@click.command(context_settings=HYDRA)
@JSON
@OVERRIDES
def plan(overrides: Sequence[str], as_json: bool) -> None:
    """Show what a run would do, reuse and cost. Runs and writes nothing."""
    from s1sweep.compose import multirun
    from s1sweep.session import Session

    with Session(command=tuple(overrides), run=False) as session:
        outcome = multirun(overrides, session)
        if session.config is None:
            return
        shown = api.summary(session)
    if as_json:
        click.echo(json.dumps(shown.as_json(), indent=1))
    else:
        _print_plan(shown, session)
        if api.is_search(outcome):
            click.echo("A search: this is its first round. Each further one depends on what those before have shown.")


@click.command()
@SWEEP
@JSON
@ROOT
def status(sweep: str | None, as_json: bool, root: str) -> None:
    """Count stages done, running, failed, waiting.

    Also how the submissions of the sweep stand.
    """
    from s1sweep.cli import inspection
    from s1sweep.queue import view
    from s1sweep.store import Store

    store = Store(root)
    found = inspection.status(store.sweep(sweep))
    found["queue"] = [r for r in view.gather(store, everything=True)["submissions"] if r["sweep"] == found["sweep"]]
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    click.echo(inspection.status_text(found))
    for r in found["queue"]:
        click.echo(f"submission {r['id']} of {r['user']}: {r['phase']}, priority {r['priority']}")
        for job, why in r["why"].items():
            click.echo(f"  {job}: {why}")


@click.command()
@JSON
@ROOT
def ls(as_json: bool, root: str) -> None:
    """List the sweeps of a store, newest last."""
    from s1sweep.cli import inspection
    from s1sweep.store import Store

    found = inspection.sweeps(Store(root))
    click.echo(json.dumps(found, indent=1) if as_json else inspection.sweeps_text(found))


@click.command(cls=WithCommand, context_settings=HYDRA)
@click.option("--dry-run", is_flag=True, help="Print exactly what would be submitted, and submit nothing.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def launch(command: tuple[str, ...], overrides: Sequence[str], dry_run: bool) -> None:
    """Get a cluster and run COMMAND on its head.

    s1sweep launch slurm launcher.nodes=2 -- s1sweep run -m ...

    Without COMMAND it serves the store's queue (docs/queue.md).

    OVERRIDES are slurm, kuberay, skypilot or ray_job, and Hydra's: launcher.FIELD=value, placement=... (docs/launchers)
    """
    from s1sweep import launchers
    from s1sweep.compose import launch_config
    from s1sweep.launchers.base import check_placement

    named = [f"launcher={o}" if "=" not in o and not o.startswith("-") and o.isidentifier() else o for o in overrides]
    config = launch_config(named)
    check_placement(config.launcher, config.placement)
    command = command or (
        *("s1sweep", "serve", f"placement={config.placement.name}"),
        *("placement.ray_address=auto", f"placement.root={config.launcher.root}"),
    )
    if dry_run:
        click.echo(launchers.render(config.launcher, command), nl=False)
        return
    job = launchers.submit(config.launcher, command)
    click.echo(f"Submitted {config.launcher.kind} job {job}: {' '.join(command)}")
    click.echo(launchers.after(config.launcher, job))


@click.command()
@click.argument("stage")
@ROOT
def explain(stage: str, root: str) -> None:
    """Show a stage: spec, inputs, record, why it is reused or not.

    STAGE is an id or its beginning.
    """
    from s1sweep.cli import inspection
    from s1sweep.store import Store

    click.echo(inspection.explain(Store(root), stage))


def _print_plan(shown: api.PlanSummary, session: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", "distinct", "reused", "to run", title=f"{session.sweep.name}: {shown.cells} cells")
    missing = session.plan.counts(session.missing())
    for kind, total in shown.stages.items():
        table.add_row(kind, str(total), str(shown.reused[kind]), str(missing[kind]))
    console = Console()
    console.print(table)
    estimate, sessions = shown.estimate, shown.engine_sessions
    if any(missing.values()):
        console.print(
            f"{sessions} engine session{'' if sessions == 1 else 's'}; "
            f"about {estimate.decode_tokens:,} tokens to decode, "
            f"{estimate.train_tokens:,} to train."
        )
        console.print(estimate_text(estimate.as_json()))
    else:
        console.print("Nothing to run: every stage is in the store.")
    for upgrade in shown.upgrades:
        console.print(f"After an upgrade: {upgrade}.", markup=False, highlight=False)
    for line in estimate.basis:
        console.print(f"Time: {line}.", style="dim", markup=False)
    if shown.unpinned:
        named = "; ".join(f"{field} of {', '.join(names)}" for field, names in sorted(shown.unpinned.items()))
        console.print(
            f"Not pinned: {named}. `run` asks for commits; `s1sweep prefetch` with the same overrides looks them up.",
            style="dim",
            markup=False,
        )
    for note in shown.remarks:
        console.print(f"{note}." if note.startswith("WARNING") else f"Note: {note}.", style="dim", markup=False)
    for note in sorted({note for cell in session.plan.cells for note in cell.notes}):
        console.print(f"Note: {note}.", style="dim")
    console.print(f"Store: {session.store.url}", style="dim")


def _after_run(session: Any, outcome: Any) -> None:
    """Tables, links and failures; raises SweepFailed if a stage failed."""
    from s1sweep import tracking
    from s1sweep.analysis import results as found
    from s1sweep.analysis import searched, tables

    sweep = session.sweep
    keys = {cell.key for cell in session.plan.cells}
    cells = [cell for cell in found.cells(sweep) if cell.key in keys]
    tables.show(cells, store=session.store)
    if api.is_search(outcome):
        from s1sweep.analysis import render

        render.terminal.show(searched.exhibit(outcome.keep(sweep)))
    click.echo(f"Sweep {sweep.name}: {len(cells)} cells, {session.executed} stages run, {api.reused(session)} reused.")
    for line in tracking.publish(sweep, session.config.tracking):
        click.echo(line)
    try:
        from s1sweep.analysis import report as page

        click.echo(f"Page: {page.refresh(sweep)}")
    except ImportError as error:
        click.echo(f"No page: {error.name} is not installed (pip install 's1sweep[analysis]').")
    else:
        _show_exhibit(session)
    api.refuse_failed(session, shlex.join(["s1sweep", "run", "--retry-failed", *session.command]))


def _show_exhibit(session: Any) -> None:
    """The exhibit that the experiment is named after, if it is; its figure goes beside the page."""
    from s1sweep.analysis import exhibits, plots, render
    from s1sweep.analysis.study import Study

    name = session.config.choices.get("experiment")
    if name not in exhibits.NAMES:
        return
    try:
        found = exhibits.exhibit(name, Study.of(session.sweep))
        render.terminal.show(found)
        if found.figures:
            click.echo(f"Figure: {plots.draw(found.figures[0], session.sweep.dir / f'{name}.svg')}")
    except UserError as error:  # an override may have left out what it needs
        click.echo(f"No {name}: {error}")


COMMANDS: Sequence[click.Command] = (run, plan, status, ls, explain, launch)
