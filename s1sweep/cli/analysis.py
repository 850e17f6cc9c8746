"""The analyst's commands: a sweep's table, page, exhibits, data cards, and two sweeps side by side.

Each is a few lines over `analysis`; none runs anything.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from s1sweep.cli import completion
from s1sweep.cli.options import JSON, ROOT, SWEEP
from s1sweep.errors import UserError


@click.command()
@SWEEP
@click.option("--json", "as_json", is_flag=True, help="A list of cells.")
@click.option("--csv", "as_csv", is_flag=True, help="One line per cell.")
@click.option("--parquet", metavar="FILE", help="Write one row per cell to a parquet file (docs/results.md).")
@click.option("--readouts", is_flag=True, help="With --parquet or --csv: one row per readout instead.")
@click.option("--clean", is_flag=True, help="Also accuracy on the questions that no arm has trained on (8-grams).")
@ROOT
def results(
    sweep: str | None, as_json: bool, as_csv: bool, parquet: str | None, readouts: bool, clean: bool, root: str
) -> None:
    """Print the table of a sweep, by default the newest."""
    from s1sweep.analysis import clean as without
    from s1sweep.analysis import results as found
    from s1sweep.analysis import searched, tables
    from s1sweep.store import Store

    store = Store(root)
    if readouts and not (parquet or as_csv):
        raise UserError("--readouts needs --parquet FILE or --csv: a row per readout is no table to read.")
    if parquet or readouts:
        if clean or as_json:
            raise UserError(
                "--clean and --json are about cells as a table. Leave them out beside --parquet, --readouts."
            )
        _write_frame(store.sweep(sweep), parquet, readouts)
        return
    cells = found.cells(store.sweep(sweep))
    kept = without.clean(store, cells) if clean else None
    if as_json:
        rows = [cell.as_json() for cell in cells]
        for row, one in zip(rows, kept or [], strict=False):
            row["clean"] = one.as_json() if one else None
        click.echo(json.dumps(rows, indent=1))
    elif as_csv:
        click.echo(tables.csv_text(cells, kept), nl=False)
    else:
        tables.show(cells, clean=kept, store=store)
        if outcome := searched.read(store.sweep(sweep)):
            from s1sweep.analysis import render

            render.terminal.show(searched.exhibit(outcome))


@click.command()
@click.argument("a", shell_complete=completion.sweeps)
@click.argument("b", shell_complete=completion.sweeps)
@JSON
@click.option("--other-root", metavar="ROOT", help="The store of B, where it is another one.")
@ROOT
def compare(a: str, b: str, as_json: bool, other_root: str | None, root: str) -> None:
    """Compare two sweeps: paired differences B - A.

    Also what differs in config, and in what made them.
    """
    from s1sweep.store import Store

    try:
        from s1sweep.analysis import compare as comparison

        found = comparison.compare(Store(root).sweep(a), Store(other_root or root).sweep(b))
    except ImportError as error:
        raise UserError(f"compare needs {error.name} (pip install 's1sweep[analysis]').") from error
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=1))
    else:
        comparison.show(found)


@click.command()
@SWEEP
@click.option("--out", metavar="FILE", help="Where to write. [default: report.html in the sweep's folder]")
@click.option(
    "--to", type=click.Choice(["html", "wandb"]), default="html", help="A page, or a W&B report and workspace."
)
@click.option("--entity", help="The W&B user or team of --to wandb. [default: $WANDB_ENTITY, or where the runs are]")
@click.option("--project", help="The W&B project of --to wandb. [default: $WANDB_PROJECT, or where the runs are]")
@ROOT
def report(sweep: str | None, out: str | None, to: str, entity: str | None, project: str | None, root: str) -> None:
    """Write a sweep's page, or its W&B report.

    The page is one self-contained HTML file.
    """
    from s1sweep.store import Store

    found = Store(root).sweep(sweep)
    if to == "wandb":
        _wandb_report(found, entity, project)
        return
    from s1sweep.analysis import report as page

    click.echo(page.write(found, out))


def _wandb_report(sweep: Any, entity: str | None, project: str | None) -> None:
    try:
        from s1sweep.tracking import wandb_save

        lines = wandb_save.publish(sweep, entity, project)
    except ImportError as error:
        raise UserError(f"--to wandb needs {error.name}: pip install 's1sweep[analysis]' wandb.") from error
    for line in lines:
        click.echo(line)


@click.command()
@click.argument("name", required=False)
@SWEEP
@click.option("--format", "form", default="terminal", help="terminal, markdown, latex or csv. [default: terminal]")
@click.option("--figure", metavar="FILE", help="Also write its figure; the name ends in .svg, .pdf or .png.")
@click.option("--published", is_flag=True, help="Put the source's own numbers beside ours.")
@ROOT
def show(name: str | None, sweep: str | None, form: str, figure: str | None, published: bool, root: str) -> None:
    """Show a table or figure of a paper from a sweep.

    Without NAME, which there are; by default from the newest sweep.
    """
    try:
        from s1sweep.analysis import exhibits, plots, render
        from s1sweep.analysis.study import Study
    except ImportError as error:
        raise UserError(f"show needs {error.name}, which is not installed: pip install 's1sweep[analysis]'.") from error
    from s1sweep.store import Store

    if name is None:
        click.echo(exhibits.listing(Study.of(Store(root).sweep(sweep))))
        return
    exhibits.known(name)  # a typo is seen before a sweep is read
    render.known(form)
    found = exhibits.exhibit(name, Study.of(Store(root).sweep(sweep)), published)
    if form == "terminal":
        render.terminal.show(found)
    else:
        click.echo(render.exhibit_text(found, form), nl=False)
    if figure:
        if not found.figures:
            raise UserError(f"exhibit {name} has no figure, so --figure={figure} cannot be written.")
        click.echo(plots.draw(found.figures[0], figure), err=True)


@click.command()
@SWEEP
@click.option("--out", metavar="FILE", help="Where to write. [default: data.html in the sweep's folder]")
@ROOT
def data(sweep: str | None, out: str | None, root: str) -> None:
    """Show what a sweep was trained on.

    Subsets, what they share, and overlap with its tasks; writes one HTML file.
    """
    from s1sweep.analysis import datacards
    from s1sweep.store import Store

    cards = datacards.gather(Store(root).sweep(sweep))
    datacards.show(cards)
    click.echo(datacards.write(cards, out))


def _write_frame(sweep: Any, parquet: str | None, readouts: bool) -> None:
    """A sweep's rows to a parquet file, or as CSV to the terminal."""
    from pathlib import Path

    from s1sweep.analysis.results import load

    try:
        from s1sweep.analysis import frame

        found = load(sweep, rows="readouts" if readouts else "cells")
    except ImportError as error:
        raise UserError(f"this needs {error.name} (pip install 's1sweep[analysis]').") from error
    if parquet is None:
        found.to_csv(sys.stdout, index=False)
        return
    path = frame.write(found, Path(parquet).expanduser())
    click.echo(f"{path}: {len(found):,} rows, {len(found.columns)} columns")


COMMANDS = (results, compare, report, show, data)
