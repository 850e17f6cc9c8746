"""What several commands have alike: options, arguments, and how Hydra's overrides pass."""

from __future__ import annotations

import click

from s1sweep.api import default_root
from s1sweep.cli import completion

HYDRA = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["--help"]}
OVERRIDES = click.argument("overrides", nargs=-1, type=click.UNPROCESSED, shell_complete=completion.overrides)
SWEEP = click.argument("sweep", required=False, shell_complete=completion.sweeps)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
ROOT = click.option(
    "--root",
    default=default_root,
    help="Where the store is: a directory or URL (placement.root). [default: $S1SWEEP_ROOT or s1sweep-out]",
)
