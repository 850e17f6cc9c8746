"""Commands that hand what was made to others: results in lm_eval's files, checkpoints to the hub."""

from __future__ import annotations

from pathlib import Path

import click

from s1sweep.cli import completion
from s1sweep.cli.options import ROOT


@click.command()
@click.argument("sweep", shell_complete=completion.sweeps)
@click.argument("folder", metavar="DIR")
@click.option(
    "--format", "form", type=click.Choice(["lm-eval"]), default="lm-eval", show_default=True, help="Whose files."
)
@ROOT
def export(sweep: str, folder: str, form: str, root: str) -> None:
    """Write results as lm-evaluation-harness does.

    DIR gets results_*.json and samples_*.jsonl.
    """
    from s1sweep.analysis import lm_eval_export
    from s1sweep.store import Store

    written, open_ = lm_eval_export.write(Store(root).sweep(sweep), Path(folder).expanduser())
    for path in written:
        click.echo(path)
    if open_:
        click.echo(f"{open_} cells have no number yet and are left out.", err=True)


@click.command()
@click.argument("what", metavar="STAGE|SWEEP")
@click.argument("repo")
@click.option("--private", is_flag=True, help="Make the repository private; refused if it is there and public.")
@click.option("--dry-run", is_flag=True, help="Print the card and the files, and push nothing.")
@ROOT
def push(what: str, repo: str, private: bool, dry_run: bool, root: str) -> None:
    """Push a checkpoint to the hub, with a model card.

    REPO is OWNER/NAME. The token is HF_TOKEN's, or that of `hf auth login`.

    STAGE is a train stage's id or its beginning; a SWEEP must have trained one checkpoint.
    """
    from s1sweep.analysis import modelcard
    from s1sweep.sources import hub
    from s1sweep.store import Store

    found = modelcard.find(Store(root), what)
    card, files = modelcard.write(found), modelcard.files(found)
    if dry_run:
        click.echo(card)
        for name, path in files.items():
            click.echo(f"{name}  {path.stat().st_size:,} bytes", err=True)
        return
    click.echo(hub.upload(repo, {**files, "README.md": card.encode()}, private, f"{found.stage} of s1sweep"))


COMMANDS: tuple[click.Command, ...] = (export, push)
