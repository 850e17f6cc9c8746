"""A sweep's page: one self-contained HTML file that opens from disk and loads nothing.

Gathers what the records say and hands it to templates/report.html; computes no statistic itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s1sweep.store import Store, Sweep

from . import papertables, plots, results
from .curves import accuracy_figure
from .labels import Column, arm, arm_order, columns, task_label
from .noise import noise_floors
from .results import CellResult, record_of
from .samples import samples, script_json
from .tables import percent
from .trainings import trainings

SYNTHETIC = "Synthetic: the packaged testbed made these figures. They are not evidence about language models."


def write(sweep: Sweep, out: str | None = None) -> Path:
    """Write the page, by default `report.html` in the sweep's folder; returns its path. Needs jinja2 and matplotlib."""
    from jinja2 import Environment, FileSystemLoader

    templates = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=templates, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, points=_points, when=_when)
    page = environment.get_template("report.html").render(_context(sweep))
    path = Path(out).expanduser() if out else sweep.dir / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _context(sweep: Sweep) -> dict[str, Any]:
    from markupsafe import Markup

    cells = results.cells(sweep)
    done = [cell for cell in cells if cell.missing is None]
    axes = columns(cells)
    shown = samples(sweep.store, cells)
    browser = {
        "questions": shown.questions,
        "groups": shown.groups,
        "cells": [
            {
                "key": cell.key,
                "task": task_label(cell),
                "label": " · ".join(_named(axis, i) for axis in axes[1:]) or task_label(cell),
                "accuracy": percent(cell.accuracy),
                "group": shown.cells[cell.key],
            }
            for i, cell in enumerate(cells)
            if cell.key in shown.cells
        ],
    }
    arms = sorted({arm(cell) for cell in cells}, key=arm_order)
    first = papertables.extrapolation_table(cells)
    others = (papertables.extrapolation_table(cells, which) for which in arms)
    grids = [first, *(grid for grid in others if grid and grid.setting != first.setting)] if first else []
    figure = accuracy_figure(cells)
    keys = plots.legend(figure)
    return {
        "info": {"notes": "", "tags": [], **sweep.info()},
        "synthetic": SYNTHETIC if any(_testbed(cell) for cell in cells) else None,
        "cells": cells,
        "done": done,
        "axes": axes,
        "intervals": sorted({cell.interval for cell in done if cell.interval}),
        "subsets": papertables.subset_table(cells),
        "extrapolations": grids,
        "panels": {task: Markup(svg) for task, svg in plots.panels_svg(figure)},
        "arms": [(key.label, key.colour, key.hollow) for key in keys if key.colour],
        "strings": [(key.label, key.glyph) for key in keys if not key.colour],
        "trainings": trainings(sweep.store, cells),
        "noise": [str(floor) for floor in noise_floors(cells)],
        "failures": _failures(sweep.store, cells),
        "made": _provenance(sweep.store, cells),
        "browser": Markup(script_json(browser)),
        "shortened": shown.shortened,
    }


def _named(axis: Column, i: int) -> str:
    """A value that speaks for itself alone, a number with its heading."""
    value = axis.values[i]
    return f"{axis.heading} {value}" if value[:1].isdigit() and "×" not in value else value


def _testbed(cell: CellResult) -> bool:
    trained = cell.spec["train"]["kind"] != "none"
    return cell.spec["model"]["source"] == "testbed" or (trained and cell.spec["pool"]["path"] is None)


def _failures(store: Store, cells: Sequence[CellResult]) -> list[dict[str, Any]]:
    """Stages against which a failure stands, with the number of cells that need them."""
    needed: dict[str, int] = {}
    for cell in cells:
        for stage in cell.stages.values():
            needed[stage] = needed.get(stage, 0) + (cell.missing is not None)
    return [{"stage": s, "cells": n, **failure} for s, n in needed.items() if n and (failure := store.failure(s))]


def _provenance(store: Store, cells: Sequence[CellResult]) -> dict[str, Any]:
    """Versions of code and libraries that made the records, and when the last one was finished."""
    versions: dict[str, set[str]] = {}
    last = None
    for stage in dict.fromkeys(stage for cell in cells for stage in cell.stages.values()):
        record = record_of(store, stage)
        if record is None:
            continue
        made = record["provenance"]
        last = max(last or 0, made["started"] + made["seconds"])
        for name, version in {**made["code"], **made["environment"]}.items():
            if name not in ("executable", "platform"):
                versions.setdefault(name, set()).add(version[:12] if name == "commit" else version)
    return {"versions": {name: ", ".join(sorted(found)) for name, found in versions.items()}, "last": last}


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
