"""A `Figure` as a file, or as SVG for the page. Needs matplotlib; knows no cell.

Colours are Okabe and Ito's; in grey print markers and dashes tell lines apart. Output is reproducible: fixed hash salt,
no dates, text kept as text.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from s1sweep.errors import UserError

from .curves import accuracy_figure
from .exhibits.base import Figure, FigureLine, Panel, Point
from .results import CellResult

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
# Okabe and Ito's colour-blind safe palette, less black and yellow, which vanish on one of the page's two grounds.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("-", (0, (6, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1)), (0, (6, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*", "<", ">", "p", "h", "d")
GLYPHS = dict(zip(MARKERS, "●■◆▲▼✚✖★◀▶⬟⬢♦", strict=True))


@dataclass(frozen=True)
class Look:
    """How a figure's names look: one colour and dash per `colour`, one marker per `marker`, in every panel.

    Lines without a marker's name have one per colour.
    """

    colours: tuple[str, ...]
    markers: tuple[str, ...]

    @classmethod
    def of(cls, figure: Figure) -> Look:
        lines = [line for panel in figure.panels for line in panel.lines]
        return cls(
            tuple(dict.fromkeys(_colour_name(line) for line in lines)),
            tuple(dict.fromkeys(line.marker for line in lines if line.marker)),
        )

    def colour(self, line: FigureLine) -> str:
        return COLOURS[self.colours.index(_colour_name(line)) % len(COLOURS)]

    def dash(self, line: FigureLine) -> Any:
        return DASHES[self.colours.index(_colour_name(line)) % len(DASHES)]

    def marker(self, line: FigureLine) -> str:
        place = self.markers.index(line.marker) if line.marker else self.colours.index(_colour_name(line))
        return MARKERS[place % len(MARKERS)]


@dataclass(frozen=True)
class Key:
    """An entry of a figure's legend. `colour` is None where it stands for a marker, in any colour."""

    label: str
    marker: str
    colour: str | None = None
    hollow: bool = False
    dash: Any = None

    @property
    def glyph(self) -> str:
        return GLYPHS[self.marker]


def legend(figure: Figure) -> list[Key]:
    """What the figure's colours and markers stand for."""
    look = Look.of(figure)
    found: dict[str, Key] = {}
    for line in (line for panel in figure.panels for line in panel.lines):
        name = _colour_name(line) + (" (null arm)" if line.hollow else "")
        marker = "o" if look.markers else look.marker(line)
        found.setdefault(name, Key(name, marker, look.colour(line), line.hollow, look.dash(line)))
    keys = list(found.values())
    return keys + [Key(name, MARKERS[i % len(MARKERS)]) for i, name in enumerate(look.markers)]


def draw(figure: Figure, path: str | Path) -> Path:
    """Write the figure, panel by panel; the suffix of `path` chooses PNG, SVG or PDF. Returns the path.

    Raises UserError on another suffix, or if there is no point to draw.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas
    from matplotlib.lines import Line2D

    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"{str(path)!r} is no figure file. Give a name that ends in {', '.join(SUFFIXES)}.")
    panels = [panel for panel in figure.panels if any(line.points for line in panel.lines)]
    if not panels:
        raise UserError("No cell has a number yet, so there is nothing to draw.")
    look = Look.of(figure)
    across = min(3, len(panels))
    down = math.ceil(len(panels) / across)
    with rc_context(RC):
        canvas = Canvas(figsize=(WIDTH * across, HEIGHT * down + 0.6), layout="constrained")
        axes = list(canvas.subplots(down, across, squeeze=False).flat)
        for ax, panel in zip(axes, panels, strict=False):
            _panel(ax, panel, look)
            ax.set_title(panel.title, loc="left")
        for ax in axes[len(panels) :]:
            ax.remove()
        handles: list[Any] = []
        for key in legend(figure):
            face = "none" if key.hollow else key.colour or INK
            style = {"ls": key.dash, "lw": 1.3, "ms": 5} if key.colour else {"ls": "", "ms": 4}
            handles.append(
                Line2D([], [], color=key.colour or INK, marker=key.marker, mfc=face, label=key.label, **style)
            )
        canvas.legend(
            handles=handles, loc="outside lower center", ncols=min(6, len(handles)), frameon=False, handlelength=3
        )
        metadata = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[path.suffix]
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.savefig(path, dpi=200, metadata=metadata)
    return path


def panels_svg(figure: Figure) -> list[tuple[str, str]]:
    """(title, inline SVG) of each panel, in the page's text colour.

    A point has a `<title>`, its cell's key as `data-cell` and its line's axes as `data-axes` (JSON); so has a line its
    axes. Panels without a point are left out.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    look = Look.of(figure)
    found = []
    for number, panel in enumerate(figure.panels):
        if not any(line.points for line in panel.lines):
            continue
        with rc_context(RC):
            canvas = Canvas(figsize=(WIDTH, HEIGHT), layout="constrained")
            canvas.patch.set_alpha(0)
            ax = canvas.subplots()
            ax.patch.set_alpha(0)
            _panel(ax, panel, look)
            out = io.StringIO()
            canvas.savefig(out, format="svg", metadata={"Date": None})
        name = re.sub(r"\W+", "", figure.title.lower())[:24]
        found.append((panel.title, _inline(out.getvalue(), panel, f"{name}{number}-")))
    return found


def curve(cells: Sequence[CellResult], path: str | Path) -> Path:
    """Write the figure of accuracy against thinking tokens of some cells, one panel per task, as `draw` does."""
    return draw(accuracy_figure(cells), path)


def _colour_name(line: FigureLine) -> str:
    return line.colour or line.label


def _panel(ax: Any, panel: Panel, look: Look) -> None:
    xs: list[float] = []
    for number, line in enumerate(panel.lines):
        if not line.points:
            continue
        colour, dash = look.colour(line), look.dash(line)
        if line.joined:
            # What is drawn apart is thin and finely dashed, whatever its colour's own dashes.
            width, dash = (0.9, (0, (2, 2))) if line.dashed else (1.3, dash)
            x, y = zip(*((_x(panel, point), point.y) for point in line.points), strict=True)
            ax.plot(x, y, color=colour, lw=width, ls=dash, alpha=0.75, gid=f"line-{number}")
        own = _own(line)
        barred = [point for point in own if point.low is not None and point.high is not None]
        if barred:
            ends = [p.low for p in barred], [p.high for p in barred]
            ax.vlines([_x(panel, p) for p in barred], *ends, color=colour, lw=0.8, alpha=0.35, gid=f"bars-{number}")
        if own:
            face = "none" if line.hollow else colour
            x, y = zip(*((_x(panel, point), point.y) for point in own), strict=True)
            ax.plot(x, y, ls="", marker=look.marker(line), color=colour, ms=5, mfc=face, gid=f"points-{number}")
        xs += [_x(panel, point) for point in line.points]
    _x_axis(ax, panel, xs)
    if panel.level is not None:
        height, name = panel.level
        ax.axhline(height, color=INK, lw=0.7, ls=(0, (1, 2)))
        ax.annotate(name, (1, height), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7)
    ax.set_ylabel(panel.y)
    ax.grid(axis="y", color=INK, alpha=0.12, lw=0.6)


def _x_axis(ax: Any, panel: Panel, xs: Sequence[float]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ax.set_xlabel(panel.x + (" (log scale)" if panel.log_x and not panel.ticks else ""))
    if panel.ticks:
        ax.set_xticks(range(len(panel.ticks)), panel.ticks)
        ax.set_xlim(-0.5, len(panel.ticks) - 0.5)
        return
    if panel.log_x:
        first, last = math.floor(math.log2(min(xs))), math.ceil(math.log2(max(xs)))
        step = max(1, math.ceil((last - first) / 7))
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_locator(FixedLocator([2.0**k for k in range(first, last + 1, step)]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlim(min(xs) / 1.2, max(xs) * 1.2)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _x(panel: Panel, point: Point) -> float:
    return max(point.x, 1) if panel.log_x and not panel.ticks else point.x  # a log axis has no 0


def _own(line: FigureLine) -> list[Point]:
    return [point for point in line.points if point.marked]


def _inline(svg: str, panel: Panel, prefix: str) -> str:
    """An SVG document as an element of a page: no prologue, no fixed size, ids of its own."""
    svg = svg[svg.index("<svg") :]
    # Its style element would hold for the whole page.
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    head, rest = svg.split(">", 1)
    svg = re.sub(r' (?:width|height)="[^"]*"', "", head) + ">" + rest
    for number, line in enumerate(panel.lines):
        axes = _axes(line)
        for part in ("line", "bars"):
            svg = svg.replace(f'<g id="{part}-{number}">', f'<g class="{part}"{axes}>')
        if f'<g id="points-{number}">' in svg:
            start = svg.index(f'<g id="points-{number}">')
            svg = svg[:start] + _points(svg[start:], _own(line), axes)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{prefix}", svg)
    return svg.replace(INK, "currentColor").replace("<svg", '<svg role="img"', 1)


def _axes(line: FigureLine) -> str:
    return f' data-axes="{escape(json.dumps(dict(line.axes), ensure_ascii=False))}"' if line.axes else ""


def _points(svg: str, points: Sequence[Point], axes: str) -> str:
    """Name the first marks of some SVG, which has one <use> per point in their order."""
    order = iter(points)
    return re.sub("<use [^>]*/>", lambda mark: _point(next(order), mark[0], axes), svg, count=len(points))


def _point(point: Point, mark: str, axes: str) -> str:
    cell = f' data-cell="{escape(point.cell)}"' if point.cell else ""
    return f'<g class="point"{cell}{axes}><title>{escape(point.label)}</title>{mark}</g>'
