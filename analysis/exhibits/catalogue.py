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
    "fig1",
    "fig4",
    "fig6",
    "fig7",
    "iso_tokens",
    "lengths",
    "oscillation",
    "subset_control",
    "table1",
    "table2",
    "table3",
    "table4",
    "table5",
    "table8",
    "wu_scale_down_up",
)


def known(name: str) -> None:
    """Raise UserError, with the nearest name, unless there is an exhibit of that name."""
    if name not in NAMES:
        raise UserError(f"exhibit={name!r} is not there.{nearest(name, NAMES)} Exhibits: {', '.join(NAMES)}.")


def exhibit(name: str, study: Study, published: bool = False) -> Exhibit:
    """The exhibit of that name; `published` puts the source's own numbers beside ours. Raises UserError."""
    known(name)
    found: Exhibit = import_module(f".{name}", __package__).exhibit(study, published)
    return found


def available(study: Study) -> dict[str, str | None]:
    """Each exhibit's name, with the reason why the study cannot make it, or None where it can."""
    found: dict[str, str | None] = {}
    for name in NAMES:
        try:
            exhibit(name, study)
            found[name] = None
        except UserError as error:
            found[name] = str(error)
    return found


def listing(study: Study) -> str:
    """What there is, a line each: what it shows, and whether this sweep can make it."""
    width = max(map(len, NAMES))
    lines = [f"Exhibits of sweep {study.name}:"]
    for name, reason in available(study).items():
        about = (import_module(f".{name}", __package__).__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {'-' if reason else '+'} {name:{width}}  {about}")
    lines.append(
        "+: this sweep has the cells, s1sweep show NAME shows it. -: s1sweep run -m experiment=NAME makes them."
    )
    return "\n".join(lines)
