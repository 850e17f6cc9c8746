"""A sweep's page: one self-contained HTML file that opens from disk and loads nothing.

Gathers what the records say and hands it to templates/report.html; computes no statistic itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s1sweep.errors import UserError
from s1sweep.identity import digest
from s1sweep.store import Store, Sweep, code_version
from s1sweep.store.attempts import one_line

from . import claims, exhibits, plots, searched
from .browser import browser, distinct
from .costs import costs
from .curves import accuracy_figure
from .exhibits.base import Exhibit, Figure
from .labels import columns
from .noise import noise_floors
from .provenance import Records, provenance, records
from .render import html
from .results import CellResult
from .samples import samples, script_json
from .study import Study
from .tables import percent
from .trainings import trainings

PAGE = "report.html"
MANY = 400  # cells; a larger sweep shows its own exhibit, and these
FIRST = ("table2", "table4")
SYNTHETIC = "Synthetic: the packaged testbed made these figures. They are not evidence about language models."


def refresh(sweep: Sweep) -> Path:
    """The sweep's page, written anew unless the one that is there was made of the same cells, records and code."""
    path, mark = sweep.dir / PAGE, _mark(sweep).encode()
    if path.exists():
        with path.open("rb") as page:
            page.seek(max(0, path.stat().st_size - 2 * len(mark)))
            if mark in page.read():
                return path
    return write(sweep)


def write(sweep: Sweep, out: str | None = None) -> Path:
    """Write the page, by default `report.html` in the sweep's folder; returns its path. Needs jinja2 and matplotlib."""
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    templates = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=templates, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        percent=percent, points=_points, when=_when, duration=_duration, signed=_signed, line=one_line
    )
    environment.filters.update(table=lambda table: Markup(html.table(table)), drawn=_drawn)
    mark = _mark(sweep)  # before the records are read: what is published meanwhile makes the page old
    page = environment.get_template("report.html").render(_context(sweep))
    path = Path(out).expanduser() if out else sweep.dir / PAGE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{page}\n{mark}\n", encoding="utf-8")
    return path


def _mark(sweep: Sweep) -> str:
    """A comment that is the same for pages of the same cells, records, failures, notes, claims and code."""
    cells = sweep.cells()
    stages = sorted({stage for cell in cells for stage in cell.stages.values()})
    states = [sweep.store.state(stage) for stage in stages]
    keys, search = [cell.key for cell in cells], searched.read(sweep)
    return f"<!-- made of {digest([code_version(), sweep.info().as_json(), keys, stages, states, search])} -->"


def _context(sweep: Sweep) -> dict[str, Any]:
    from markupsafe import Markup

    study = Study.of(sweep)
    cells, done = study.cells, study.done
    axes = columns(cells)
    shown = samples(sweep.store, cells)
    found = records(sweep.store, cells)
    return {
        "name": sweep.name,
        "info": sweep.info(),
        "synthetic": SYNTHETIC if any(_testbed(cell) for cell in cells) else None,
        "cells": cells,
        "done": done,
        "axes": axes,
        "values": [distinct(axis) for axis in axes],
        "intervals": sorted({cell.interval for cell in done if cell.interval}),
        "made": provenance(cells, found),
        "claims": claims.findings(study),
        "exhibits": [*_search(sweep), *_exhibits(study)],
        "unfolded": ("search", *((study.name,) if study.name in exhibits.NAMES else FIRST)),
        "drawn": _drawn(accuracy_figure(cells)),
        "trainings": trainings(sweep.store, cells),
        "noise": [str(floor) for floor in noise_floors(cells)],
        "failures": _failures(sweep.store, cells, found),
        "costs": costs(sweep.store, found),
        "browser": Markup(script_json(browser(cells, axes, shown))),
        "shortened": shown.shortened,
    }


def _drawn(figure: Figure) -> dict[str, Any]:
    from markupsafe import Markup

    panels = [(title, Markup(svg)) for title, svg in plots.panels_svg(figure)]
    return {"figure": figure, "legend": plots.legend(figure), "panels": panels}


def _search(sweep: Sweep) -> list[tuple[str, Exhibit | None, str]]:
    outcome = searched.read(sweep)
    return [("search", searched.exhibit(outcome), "")] if outcome else []


def _exhibits(study: Study) -> list[tuple[str, Exhibit | None, str]]:
    """(name, exhibit, why there is none): those that the sweep has cells for, its namesake first and in any case; where
    it has none, what was trained on and what was appended.

    A large sweep was not made for the others: their figures hold every cell, and would make most of the page's bytes.
    """
    made: list[tuple[str, Exhibit | None, str]] = []
    tried = [name for name in exhibits.NAMES if name in (study.name, *FIRST) or len(study.cells) <= MANY]
    for name in sorted(tried, key=lambda name: (name != study.name, name not in FIRST)):
        try:
            made.append((name, exhibits.exhibit(name, study), ""))
        except UserError as error:  # how an exhibit says that it has nothing to show here
            if name == study.name:
                made.append((name, None, str(error)))
    return made


def _testbed(cell: CellResult) -> bool:
    trained = cell.spec["train"]["kind"] != "none"
    return cell.spec["model"]["source"] == "testbed" or (trained and cell.spec["pool"]["path"] is None)


def _failures(store: Store, cells: Sequence[CellResult], found: Records) -> list[dict[str, Any]]:
    """Stages against which a failure stands, with the number of cells that need them."""
    needed: dict[str, int] = {}
    for cell in cells:
        for stage in cell.stages.values():
            needed[stage] = needed.get(stage, 0) + (cell.missing is not None)
    waiting = [(stage, n) for stage, n in needed.items() if n and found[stage] is None]
    return [
        {"stage": stage, "cells": n, "kind": failure.kind, "time": failure.time, "message": str(failure)}
        | {"log": store.where(failure.log) if failure.log else None}
        for stage, n in waiting
        if (failure := store.failure(stage))
    ]


def _points(losses: Sequence[float], width: int = 160, height: int = 32) -> str:
    """SVG polyline points of a sparkline, at most one per unit of width."""
    kept = losses[:: max(1, len(losses) // width)]
    low, span = min(kept), (max(kept) - min(kept)) or 1
    across = max(1, len(kept) - 1)
    return " ".join(
        f"{width * i / across:.1f},{height - 2 - (height - 4) * (loss - low) / span:.1f}" for i, loss in enumerate(kept)
    )


def _when(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if seconds else "–"


def _duration(seconds: float) -> str:
    """`2 h 05 min`, `3 min 20 s`, `4.2 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _signed(value: float | None, digits: int = 1) -> str:
    """A difference with its sign; a true minus."""
    return "–" if value is None else f"{value:+,.{digits}f}".replace("-", "−")
