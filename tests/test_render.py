"""Renders of small tables and figures: what is shown, and that any text is harmless in each form."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from s1sweep.analysis import plots, render
from s1sweep.analysis.exhibits.base import Exhibit, Figure, FigureLine, Number, Panel, Point, Table, TableRow
from s1sweep.errors import UserError

NASTY = "50% & a_b #1 $x$ \\cmd {b} ~^ <i>|"
TABLE = Table(
    "What it was trained on",
    ("trained on", "aime24", "Δ aime24"),
    (
        TableRow(("s1k", Number(50, "%", 33.2, 66.8, "30 questions", cell="abc", published="50"), None), "reference"),
        TableRow(("random", Number(36.7, "%", 21.9, 54.5, "30 questions", cell="def"), Number(-13.333, "points", -26.7,
            -3.3, "30 questions", p=0.0421, published="[−26.7, −3.3]"))),
        TableRow(("null, seed 1", Number(None, why="train failed: RuntimeError"), Number(-0.04, "points", -1, 1,
            exploratory=True)), "null"),
    ),
    ("Paired by question.",),
)  # fmt: skip


def test_markdown() -> None:
    assert render.markdown.table(TABLE).splitlines() == [
        "**What it was trained on**",
        "",
        "| trained on | aime24 | Δ aime24 |",
        "| :--- | ---: | ---: |",
        "| s1k | 50.0 \\[33.2, 66.8\\] (published 50) | – |",
        "| random | 36.7 \\[21.9, 54.5\\] | −13.3 \\[−26.7, −3.3\\] p = 0.042 (published \\[−26.7, −3.3\\]) |",
        "| null, seed 1 | train failed | 0.0† \\[−1.0, +1.0\\] |",
        "",
        "- Paired by question.",
        "- n: 30 questions.",
        "- In brackets: 95 % intervals.",
        "- p: corrected over all claims of the sweep (Holm).",
        "- †: no claim of the sweep declares this comparison; exploratory, its interval stands alone.",
        "- No number: train failed: RuntimeError.",
    ]


def test_latex() -> None:
    lines = render.latex.table(TABLE).splitlines()
    assert lines[:7] == [
        r"\begin{table}",
        r"\centering",
        r"\caption{What it was trained on}",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"trained on & aime24 & $\Delta$ aime24 \\",
        r"\midrule",
    ]
    assert lines[8].startswith(r"random & 36.7 {\footnotesize {[}21.9, 54.5{]}} & $-$13.3 {\footnotesize {[}$-$26.7,")
    assert lines[-1] == r"\end{table}" and r"\bottomrule" in lines


def test_latex_sets_any_text_as_it_is() -> None:
    made = render.latex.escape(NASTY)
    assert made == (
        r"50\% \& a\_b \#1 \$x\$ \textbackslash{}cmd \{b\} \textasciitilde{}\textasciicircum{} "
        r"\textless{}i\textgreater{}\textbar{}"
    )
    table = render.latex.table(Table(NASTY, (NASTY,), (TableRow((NASTY,)),), (NASTY,)))
    rest = re.sub(r"\\[%&_#${}]|\\\\|\\[a-z]+\{?\}?", "", table)
    assert not re.search(r"[%&_#$^~\\]", rest)
    assert table.replace(r"\{", "").replace(r"\}", "").count("{") == table.replace(r"\{", "").replace(r"\}", "").count(
        "}"
    )


def test_csv_has_the_raw_numbers_in_columns_of_their_own() -> None:
    s1k, random, null = csv.DictReader(io.StringIO(render.csv_.table(TABLE)))
    assert s1k["kind"] == "reference" and s1k["aime24 published"] == "50" and s1k["Δ aime24"] == ""
    assert [random[f"Δ aime24{part}"] for part in ("", " low", " high", " n", " p")] == [
        "-13.333", "-26.7", "-3.3", "30 questions", "0.0421",
    ]  # fmt: skip
    assert [row["Δ aime24 exploratory"] for row in (s1k, random, null)] == ["", "", "True"]
    assert null["aime24"] == "" and null["aime24 why"] == "train failed: RuntimeError"


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_keeps_text_as_text_and_leads_to_samples() -> None:
    found = Tags(render.html.table(TABLE))
    assert [a["data-cell"] for tag, a in found.tags if tag == "a"] == ["abc", "def"]
    assert [a.get("class") for tag, a in found.tags if tag == "tr"] == [None, "reference", None, "null"]
    assert any(a.get("title") == "train failed: RuntimeError" for _, a in found.tags)
    assert "−13.3 [−26.7, −3.3] p = 0.042" in found.text
    nasty = '<script>alert("1")</script>&amp;'
    number = Number(1, why=nasty, published=nasty, cell=f'"{nasty}')
    found = Tags(render.html.table(Table(nasty, (nasty,), (TableRow((nasty,)), TableRow((number,))), (nasty,))))
    assert not [tag for tag, _ in found.tags if tag == "script"]
    assert found.text.count(nasty) == 5


@pytest.mark.parametrize("width", [50, 200])
def test_a_terminal_shows_whole_numbers(width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    render.terminal.show(Exhibit("x", "A [title]", "s1 paper, Table 2", tables=(TABLE,)), console)
    text = out.getvalue()
    assert "A [title] (s1 paper, Table 2)" in text and "…" not in text
    for part in ("−13.3", "[−26.7, −3.3]", "[33.2, 66.8]", "p = 0.042", "train failed"):
        assert part in text
    assert max(map(len, text.splitlines())) <= width


def test_unknown_forms_are_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"--format='latx' is not valid.*Did you mean 'latex'"):
        render.known("latx")


# --- figures


def two_lines(**more: object) -> Figure:
    points = (Point(10, 20, 10, 30, "low <b>", "aa"), Point(100, 60, 50, 70, "high", "bb"))
    other = (Point(100, 60, marked=False), Point(200, 50, 40, 60, "wait", "cc"))
    lines = (
        FigureLine("s1k", points, "s1k", "cap", axes=(("data", "s1k"), ("task", 'a "b" & c'))),
        FigureLine("s1k, Wait", other, "s1k", "Wait", dashed=True, axes=(("data", "s1k"),)),
        FigureLine("base", points[:1], "base", "cap", hollow=True),
    )
    return Figure("Accuracy", (Panel("tiny", lines, level=(25, "chance")), Panel("empty", ())))


def test_a_panel_names_its_points_and_their_axes() -> None:
    ((title, svg),) = plots.panels_svg(two_lines())
    assert title == "tiny"
    assert re.findall(r'class="point" data-cell="(\w+)"', svg) == ["aa", "bb", "cc", "aa"]
    assert "<title>low &lt;b&gt;</title>" in svg and svg.count("<title>") == 4
    assert svg.count('data-axes="{&quot;data&quot;: &quot;s1k&quot;, &quot;task&quot;') == 4  # line, bars, two points
    assert "chance" in svg and plots.INK not in svg


def test_lines_can_be_told_apart_without_colour() -> None:
    figure = two_lines()
    look = plots.Look.of(figure)
    s1k, wait, base = figure.panels[0].lines
    assert look.dash(s1k) != look.dash(base) and look.marker(s1k) != look.marker(wait)
    assert look.colour(s1k) == look.colour(wait) != look.colour(base)
    keys = plots.legend(figure)
    assert [(key.label, key.colour is None) for key in keys] == [
        ("s1k", False), ("base (null arm)", False), ("cap", True), ("Wait", True),
    ]  # fmt: skip
    assert len({key.marker for key in keys if key.colour is None}) == 2


def test_files_are_the_same_each_time(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for suffix in (".svg", ".pdf", ".png"):
        one, two = (plots.draw(two_lines(), tmp_path / f"{name}{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two
    with pytest.raises(UserError, match="no figure file"):
        plots.draw(two_lines(), tmp_path / "x.gif")
    with pytest.raises(UserError, match="nothing to draw"):
        plots.draw(Figure("none", (Panel("empty", ()),)), tmp_path / "x.svg")


def test_categories_have_names() -> None:
    line = FigureLine("flips", (Point(0, 3, label="a"), Point(1, 4, label="b")))
    ((_, svg),) = plots.panels_svg(Figure("f", (Panel("p", (line,), x="verdict", ticks=("right", "wrong")),)))
    assert ">right</text>" in svg and ">wrong</text>" in svg and "log scale" not in svg
