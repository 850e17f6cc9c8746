"""The command line, by topic. Each command is a few lines over the layers below; exit codes: 0 done, 1 stages failed,
2 user's mistake.
"""

from __future__ import annotations

from typing import Any

import click

from s1sweep import __version__, project
from s1sweep.cli import analysis, prepare, queue, share, simulate, store, sweep
from s1sweep.errors import SweepFailed, UserError

SECTIONS = {
    "Prepare": prepare.COMMANDS,
    "Run": (*sweep.COMMANDS, *simulate.COMMANDS),
    "Queue on a cluster": queue.COMMANDS,
    "Read results": analysis.COMMANDS,
    "Keep and share": (*store.COMMANDS, *share.COMMANDS),
}


class Commands(click.Group):
    """Shows commands by topic, and turns a user's mistake into one message and exit code 2, without a traceback."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.commands))
        room = formatter.width - width - 6
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{one.name:{width}}", one.get_short_help_str(room)) for one in commands])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(f"s1sweep: {error}", err=True)
            ctx.exit(2)
        except SweepFailed as error:
            click.echo(f"s1sweep: {error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("s1sweep: stopped. What finished is kept; the same command goes on from there.", err=True)
            ctx.exit(130)


@click.group(cls=Commands)
@click.version_option(__version__)
def main() -> None:
    """Sweeps and ablations for simple test-time scaling."""
    project.enter()


for _commands in SECTIONS.values():
    for _command in _commands:
        main.add_command(_command)
