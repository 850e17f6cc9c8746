"""Commands that come before a run: can it run here, what would the model see, what must be fetched; a project; a shell
that completes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from s1sweep.cli import completion as shell_completion
from s1sweep.cli.options import HYDRA, JSON, OVERRIDES
from s1sweep.errors import SweepFailed, UserError

_COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}


@click.command(context_settings=HYDRA)
@JSON
@OVERRIDES
@click.pass_context
def doctor(ctx: click.Context, overrides: Sequence[str], as_json: bool) -> None:
    """Say whether a run can work here.

    Tries what `run` with the same overrides needs, and says what to do for each fault. Exit code 1 if it cannot run.
    """
    from s1sweep import doctor as practice

    asked = practice.ask(overrides)
    if asked is None:
        return  # --cfg and --info only show
    findings = []
    for finding in practice.examine(asked):
        findings.append(finding)
        if not as_json:
            level = click.style(f"{finding.level:8}", fg=_COLOURS[finding.level])
            click.echo(f"{level} {finding.check:13} {finding.said}")
            if finding.todo:
                click.echo(f"{'':22} -> {finding.todo}")
    fine = practice.can_run(findings)
    if as_json:
        click.echo(json.dumps({"can_run": fine, "findings": [finding.as_json() for finding in findings]}, indent=1))
    else:
        faults = sum(finding.level == "fault" for finding in findings)
        cannot = f"This sweep cannot run here: {faults} fault{'' if faults == 1 else 's'}."
        click.echo("This sweep can run here." if fine else cannot)
    ctx.exit(0 if fine else 1)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def init(folder: Path) -> None:
    """Make a project with a conf/ of your own.

    In it are an example experiment, a task and a subset rule, beside the packaged choices.
    """
    from s1sweep import project

    for path in project.create(folder):
        click.echo(folder / path)
    click.echo(f"Next: cd {folder} && s1sweep plan -m experiment=mine")


@click.command()
@click.argument("shell", type=click.Choice(shell_completion.SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what a shell needs to complete commands.

    Groups, choices, fields and names of sweeps.

    \b
    bash:  eval "$(s1sweep completion bash)"    in ~/.bashrc
    zsh:   eval "$(s1sweep completion zsh)"     in ~/.zshrc
    fish:  s1sweep completion fish > ~/.config/fish/completions/s1sweep.fish
    """
    sys.stdout.write(shell_completion.script(ctx.find_root().command, shell))


@click.command(context_settings=HYDRA)
@JSON
@OVERRIDES
def inspect(overrides: Sequence[str], as_json: bool) -> None:
    """Show what the model sees.

    A prompt, a masked training row, marks, stops, what is injected, how gold is read.
    """
    from s1sweep.cli.preview import preview, preview_text
    from s1sweep.compose import cells_of
    from s1sweep.planning import pins
    from s1sweep.store import Store

    configs = cells_of(overrides)
    if not configs:
        return  # --cfg and --info only show
    if len(configs) > 1:
        raise UserError(f"inspect shows one cell; these are {len(configs)}. Give one value of each.")
    cell = pins.pinned(configs[0].cell, pins.read(Store(configs[0].placement.root)))
    found = preview(cell)
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    mark = (lambda text: click.style(text, fg="green")) if colour else "⟦{}⟧".format
    click.echo(json.dumps(found, indent=1, ensure_ascii=False) if as_json else preview_text(found, mark))


@click.command(context_settings=HYDRA)
@OVERRIDES
def prefetch(overrides: Sequence[str]) -> None:
    """Fetch the models and data of a run, and pin their commits."""
    from s1sweep.compose import cells_of
    from s1sweep.planning.prefetch import prefetch as fetch
    from s1sweep.store import Store

    configs = cells_of(overrides)
    if not configs:
        return  # --cfg and --info only show
    failed = fetch([config.cell for config in configs], Store(configs[0].placement.root), click.echo)
    if failed:
        raise SweepFailed("\n".join(failed))


COMMANDS = (doctor, init, inspect, prefetch, completion)
