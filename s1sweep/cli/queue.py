"""`submit`, `serve`, and what is asked and ordered about the queue: docs/queue.md."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from s1sweep import api
from s1sweep.cli.options import HYDRA, JSON, ROOT
from s1sweep.errors import UserError

ADMIN = click.option("--admin", is_flag=True, help="Order about somebody else's sweep.")


@click.command(context_settings=HYDRA)
@click.option("--priority", "level", default=0, show_default=True, help="Higher goes first.")
@click.option("--retry-failed", is_flag=True, help="Take up stages that failed in earlier runs.")
@JSON
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def submit(overrides: Sequence[str], level: int, retry_failed: bool, as_json: bool) -> None:
    """Queue what a run would run, and return. See docs/queue.md.

    The plan, the code and small input files are frozen; `s1sweep serve` runs them on the cluster.
    """
    from s1sweep.compose import multirun
    from s1sweep.queue.submit import submit_plan
    from s1sweep.session import Session

    with Session(command=tuple(overrides), run=False) as session:
        outcome = multirun(overrides, session)
        if session.config is None:
            return  # --cfg and --info only show
        if api.is_search(outcome):
            raise UserError(
                "hydra/sweeper=sequential decides by results while it runs, and `submit` freezes a plan. Give it to "
                "`s1sweep run`, on a placement of its own."
            )
        session.check()
        config, took = session.config, session.expected()
        found = submit_plan(session.sweep, session.plan, config, tuple(overrides), level, retry_failed, took)
        found["notes"] += session.remarks()
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    click.echo(
        f"Submitted {found['id']}: {found['cells']} cells, {found['to_run']} of {found['stages']} stages to run."
    )
    for note in found["notes"]:
        click.echo(f"Note: {note}.")
    click.echo(f"See it: s1sweep queue; s1sweep logs -f {found['sweep']}; s1sweep results {found['sweep']}")


@click.command(context_settings=HYDRA)
@click.option("--once", is_flag=True, help="End when the queue is empty.")
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED)
def serve(overrides: Sequence[str], once: bool) -> None:
    """Run what is submitted to a store.

    s1sweep serve placement=gpu placement.root=/shared/store

    One service for each cluster (placement.cluster). Killed and started again it goes on. OVERRIDES are placement's.
    """
    from s1sweep.compose import launch_config
    from s1sweep.queue.service import Service
    from s1sweep.runtime.backend import ClusterLost
    from s1sweep.session import start_backend
    from s1sweep.store import Store

    placement = launch_config(overrides).placement
    store = Store(placement.root)
    asked: list[int] = []
    try:
        with store.scheduler_lock(placement.cluster), store.leases(placement.cluster) as leases:
            backend = start_backend(placement)
            try:
                service = Service(store, placement, backend, leases, _say)
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, lambda number, _: asked.append(number))
                _say(f"serving {store.url} as cluster {placement.cluster}")
                service.run(once, lambda: bool(asked))
            finally:
                backend.close()
    except ClusterLost as error:
        _say(f"{error} Starting again.")
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    _say("stopped; the queue stays" if asked else "the queue is empty")


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also what was over more than an hour ago.")
@JSON
@ROOT
def queue(everything: bool, as_json: bool, root: str) -> None:
    """Show what is submitted, in whose turn, and why it waits."""
    from rich.console import Console

    from s1sweep.queue import view
    from s1sweep.store import Store

    found = view.gather(Store(root), everything)
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        Console(soft_wrap=True).print(view.table(found))


@click.command()
@click.argument("sweep")
@click.option("-f", "--follow", is_flag=True, help="Go on until the sweep is over.")
@click.option("--stage", "prefix", default="", help="Only stages whose id begins so.")
@JSON
@ROOT
def logs(sweep: str, follow: bool, prefix: str, as_json: bool, root: str) -> None:
    """Print the newest log of each stage of a submitted sweep."""
    from s1sweep.queue import view
    from s1sweep.queue.submission import Submissions
    from s1sweep.store import Store

    store = Store(root)
    submissions = Submissions(store)
    submission = submissions.of(sweep)[-1]
    stages = [name for name in submission.stages if name.startswith(prefix)]
    if not stages:
        raise UserError(f"--stage {prefix!r}: no stage of {submission.sweep} begins so. `s1sweep status` lists them.")
    seen: dict[str, int] = {}
    while True:
        over = submissions.state(submission).over or submissions.standing(submission).cancelled
        for name, lines in view.logs(store, stages, seen):
            for line in lines.splitlines():
                click.echo(json.dumps({"stage": name, "line": line}) if as_json else f"{name} | {line}")
        if not follow or over:
            return
        time.sleep(1)


@click.command()
@click.argument("sweep")
@ADMIN
@JSON
@ROOT
def cancel(sweep: str, admin: bool, as_json: bool, root: str) -> None:
    """Give up a submitted sweep. What finished stays, and so does what other sweeps need."""
    _order(root, sweep, "cancel", admin, as_json)


@click.command()
@click.argument("sweep")
@click.argument("level", type=int)
@ADMIN
@JSON
@ROOT
def priority(sweep: str, level: int, admin: bool, as_json: bool, root: str) -> None:
    """Give a submitted sweep another priority; higher goes first. A negative one stands after --."""
    _order(root, sweep, "priority", admin, as_json, level)


@click.command()
@click.argument("sweep")
@ADMIN
@JSON
@ROOT
def pause(sweep: str, admin: bool, as_json: bool, root: str) -> None:
    """Start nothing more of a submitted sweep. What runs finishes."""
    _order(root, sweep, "pause", admin, as_json)


@click.command()
@click.argument("sweep")
@ADMIN
@JSON
@ROOT
def resume(sweep: str, admin: bool, as_json: bool, root: str) -> None:
    """Take up a paused sweep."""
    _order(root, sweep, "resume", admin, as_json)


@click.command()
@click.option("--every", default=2.0, show_default=True, help="Seconds between looks.")
@JSON
@ROOT
def top(every: float, as_json: bool, root: str) -> None:
    """Watch the queue, its stages and nodes, live.

    Printed once where the output is no terminal.
    """
    from rich.console import Console
    from rich.live import Live

    from s1sweep.queue import view
    from s1sweep.store import Store

    store = Store(root)
    if as_json:
        click.echo(json.dumps(view.gather(store), indent=1))
    elif not sys.stdout.isatty():
        Console(soft_wrap=True).print(view.top(view.gather(store)))
    else:
        with Live(view.top(view.gather(store)), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                live.update(view.top(view.gather(store)), refresh=True)


def _order(root: str, sweep: str, verb: Any, admin: bool, as_json: bool, value: int | None = None) -> None:
    """Order about all submissions of a sweep that are not over."""
    from s1sweep.queue.submission import Submissions, user
    from s1sweep.store import Store

    queue = Submissions(Store(root))
    found = queue.of(sweep)
    open_ = [s for s in found if not queue.state(s).over and not queue.standing(s).cancelled]
    if not open_:
        raise UserError(f"{sweep} is over already ({queue.state(found[-1]).phase}): nothing to {verb}.")
    for submission in open_:
        queue.order(submission, verb, user(), value, admin)
    ids = [submission.id for submission in open_]
    level = f" {value}" if value is not None else ""
    if as_json:
        click.echo(json.dumps({"order": verb, "value": value, "submissions": ids}))
        return
    click.echo(f"{verb}{level}: {', '.join(ids)}")
    for submission in open_:
        if queue.service(submission.placement.cluster) is None:
            click.echo(f"No service of cluster {submission.placement.cluster} is up: it holds when one is.")
            break


def _say(line: str) -> None:
    click.echo(f"[{time.strftime('%H:%M:%S')}] {line}", err=True)


COMMANDS: Sequence[click.Command] = (submit, serve, queue, logs, cancel, priority, pause, resume, top)
