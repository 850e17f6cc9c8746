"""Options that several commands have. Knows click and nothing else."""

from __future__ import annotations

import click

from s1sweep.api import default_root

ROOT = click.option(
    "--root",
    default=default_root,
    help="Where the store is (placement.root of the run). [default: $S1SWEEP_ROOT or s1sweep-out]",
)
