"""The accuracy-against-thinking-tokens figure, as a file or as SVG for the page. Needs matplotlib.

Output is reproducible: fixed hash salt, no dates, text kept as text. Knows what to draw from `curves`.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from s1sweep.errors import UserError

from .curves import Curve, Styles, curves, styles
from .labels import Arm, arm, arm_label, budget_label, extrapolation, extrapolation_label, method_label, task_label
from .results import CellResult
from .tables import with_interval

INK = "#010203"  # stands for the page's text colour
RC = {
    "svg.hashsalt": "s1sweep",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.linewidth": 0.6,
}
WIDTH, HEIGHT = 4.4, 3.3  # inches of one panel
SUFFIXES = (".png", ".svg", ".pdf")


def curve(cells: Sequence[CellResult], path: str | Path) -> Path:
    """Write the figure, one panel per task; the suffix of `path` chooses PNG, SVG or PDF. Returns the path.

    Raises UserError on another suffix, or if no cell has a number yet.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"{str(path)!r} is no figure file. Give a name that ends in {', '.join(SUFFIXES)}.")
    panels = by_task(cells)
    if not panels:
        raise UserError("No cell has a number yet, so there is nothing to draw.")
    look = styles([cell for cell in cells if cell.missing is None])
    across = min(3, len(panels))
    down = math.ceil(len(panels) / across)
    with rc_context(RC):
        figure = Figure(figsize=(WIDTH * across, HEIGHT * down + 0.6), layout="constrained")
        axes = figure.subplots(down, across, squeeze=False).flat
        for ax, (task, group) in zip(axes, panels.items(), strict=False):
            _panel(ax, curves(group), look)
            ax.set_title(task, loc="left")
        for ax in list(axes)[len(panels) :]:
            ax.remove()
        handles: list[Any] = [
            Line2D([], [], color=colour, marker="o", ms=5, mfc=_face(look, which), label=look.labels[which])
            for which, colour in look.colours.items()
        ]
        for string in look.strings:
            handles.append(
                Line2D([], [], color=INK, ls="", marker=look.marker(string), ms=4, label=look.string_label(string))
            )
        figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)), frameon=False)
        metadata = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[path.suffix]
        figure.savefig(path, dpi=200, metadata=metadata)
    return path


def panels_svg(cells: Sequence[CellResult]) -> dict[str, str]:
    """Task -> inline SVG of its panel, in the page's text colour; each point carries a title and its cell's key."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    look = styles([cell for cell in cells if cell.missing is None])
    found = {}
    for number, (task, group) in enumerate(by_task(cells).items()):
        with rc_context(RC):
            figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
            figure.patch.set_alpha(0)
            ax = figure.subplots()
            ax.patch.set_alpha(0)
            lines = curves(group)
            _panel(ax, lines, look)
            out = io.StringIO()
            figure.savefig(out, format="svg", metadata={"Date": None})
        found[task] = _inline(out.getvalue(), lines, f"p{number}-")
    return found


def by_task(cells: Sequence[CellResult]) -> dict[str, list[CellResult]]:
    """Cells with numbers, by task in the sweep's order."""
    found: dict[str, list[CellResult]] = {}
    for cell in cells:
        if cell.missing is None:
            found.setdefault(task_label(cell), []).append(cell)
    return found


def _panel(ax: Any, lines: Sequence[Curve], look: Styles) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    xs: list[float] = []
    for number, line in enumerate(lines):
        colour = look.colours[line.arm]
        width, dash = (0.9, "--") if line.anchored else (1.3, "-")
        points = [(_tokens(cell), _percent(cell.accuracy)) for cell in line.cells]
        ax.plot(*zip(*points, strict=True), color=colour, lw=width, ls=dash, alpha=0.75)
        x, y = zip(*points[line.anchored :], strict=True)
        low, high = [_percent(cell.ci_low) for cell in line.own], [_percent(cell.ci_high) for cell in line.own]
        ax.vlines(x, low, high, color=colour, lw=0.8, alpha=0.35)
        face, marker = _face(look, line.arm), look.marker(line.string)
        ax.plot(x, y, ls="", marker=marker, color=colour, ms=5, mfc=face, gid=f"points-{number}")
        xs += x
    first, last = math.floor(math.log2(min(xs))), math.ceil(math.log2(max(xs)))
    step = max(1, math.ceil((last - first) / 7))
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator([2.0**k for k in range(first, last + 1, step)]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.set_xlim(min(xs) / 1.2, max(xs) * 1.2)
    ax.set_xlabel("mean thinking tokens (log scale)")
    ax.set_ylabel("accuracy, %")
    ax.grid(axis="y", color=INK, alpha=0.12, lw=0.6)


def _tokens(cell: CellResult) -> float:
    return max(cell.mean_thinking_tokens or 0, 1)  # a log axis has no 0


def _percent(share: float | None) -> float:
    return 100 * (share or 0)


def _face(look: Styles, which: Arm) -> str:
    return "none" if which in look.hollow else look.colours[which]


def _inline(svg: str, lines: Sequence[Curve], prefix: str) -> str:
    """An SVG document as an element of a page: no prologue, no fixed size, ids of its own."""
    svg = svg[svg.index("<svg") :]
    # Its style element would hold for the whole page.
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    head, rest = svg.split(">", 1)
    svg = re.sub(r' (?:width|height)="[^"]*"', "", head) + ">" + rest
    for number, line in enumerate(lines):
        start = svg.index(f'<g id="points-{number}">')
        svg = svg[:start] + _points(svg[start:], line.own)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", svg)
    return svg.replace(INK, "currentColor").replace("<svg", '<svg role="img"', 1)


def _points(svg: str, cells: Sequence[CellResult]) -> str:
    """Name the first marks of some SVG, which has one <use> per cell in their order."""
    order = iter(cells)
    return re.sub("<use [^>]*/>", lambda mark: _point(next(order), mark[0]), svg, count=len(cells))


def _point(cell: CellResult, mark: str) -> str:
    way = method_label(cell) or extrapolation_label(extrapolation(cell))
    title = (
        f"{arm_label(arm(cell))}, {way}, {budget_label(cell)}\n"
        f"accuracy {with_interval(cell)} %, {cell.mean_thinking_tokens:,.0f} thinking tokens, {cell.n} questions"
    )
    return f'<g class="point" data-cell="{cell.key}"><title>{escape(title)}</title>{mark}</g>'
