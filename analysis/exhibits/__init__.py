"""Tables and figures named after their sources, one file each: `table2.py` makes `table2` from a study.

A file has `exhibit(study, published) -> Exhibit` and knows no format; `base.py` says what an exhibit is. It raises
UserError where the study has no cells for it. To add one, add a file, its name below, and `conf/experiment/NAME.yaml`.
"""

from __future__ import annotations

from importlib import import_module

from s1sweep.errors import UserError, nearest

from ..study import Study
from .base import Exhibit

NAMES: tuple[str, ...] = (
    "attribution",
    "best_budget",
    "endings",
    "iso_tokens",
    "lengths",
    "oscillation",
    "subset_control",
    "wu_scale_down_up",
)


def exhibit(name: str, study: Study, published: bool = False) -> Exhibit:
    """The exhibit of that name; `published` puts the source's own numbers beside ours. Raises UserError."""
    if name not in NAMES:
        raise UserError(f"exhibit={name!r} is not there.{nearest(name, NAMES)} Exhibits: {', '.join(NAMES)}.")
    return import_module(f".{name}", __name__).exhibit(study, published)
