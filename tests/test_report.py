"""The page and the figure: self-contained, safe with any text, and within their size."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from s1sweep.analysis import plots, report, results, samples
from s1sweep.analysis.curves import PLAIN, accuracy_figure, curves
from s1sweep.errors import UserError
from tests.test_analysis import fabricate

NASTY = (
    "</script><script>document.title='owned'</script><img src=x onerror=alert(1)> "
    "Find $\\frac{1}{2}\\text{<b>}$ & \u2028 &lt;"
)


class Page(HTMLParser):
    """Tags with attributes, and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data


def nasty_task(tmp_path: Path) -> str:
    path = tmp_path / "nasty.jsonl"
    rows = [{"id": f"<i>{n}</i>", "question": f"{n} {NASTY}", "answer": "<u>4</u>"} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def page(root: Path, tmp_path: Path) -> Path:
    """A page with nasty questions, a failed arm, extrapolations and a curve."""
    task = ("task=file", "task.name=nasty", "task.grader=math", f"task.path={nasty_task(tmp_path)}")
    fabricate(root, *task, "data=random,longest", "extrapolation=none,wait", failing=["train-tiny-longest"])
    return report.write(fabricate(root, *task, "method.max_thinking_tokens=16,64"))


def browser_data(html: str) -> dict[str, Any]:
    return json.loads(Page(html).scripts[1])


def test_the_page_is_one_file_that_loads_nothing(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert page.name == "report.html"
    found = Page(html)
    assert "default-src 'none'" in html
    for tag, attributes in found.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base")
        for name in ("src", "href", "xlink:href"):
            assert not attributes.get(name) or str(attributes[name]).startswith("#"), (tag, attributes)
    assert not re.search(r"url\((?!#)|@import", html)


def test_text_from_data_is_text(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    found = Page(html)
    assert [tag for tag, _ in found.tags].count("script") == len(found.scripts) == 3
    assert not [tag for tag, _ in found.tags if tag in ("u", "forcing")]
    assert "RuntimeError: lost <b>GPU</b>" in found.text
    assert "budget <forcing> & friends" in found.text
    assert f"0 {NASTY}" in browser_data(html)["questions"]["0"].values()


def test_script_json_has_nothing_that_ends_a_script() -> None:
    value = {"a": "</script><!-- & \u2028\u2029 é"}
    text = samples.script_json(value)
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029") & set(text)


def test_the_page_shows_missing_cells_failures_and_the_synthetic_note(page: Path) -> None:
    text = " ".join(Page(page.read_text(encoding="utf-8")).text.split())
    assert "6 cells, 4 with a number, 2 missing" in text
    assert "holds up 2 cells" in text
    assert report.SYNTHETIC in text
    assert '2× "Wait"' in text


def test_each_table_has_one_home_and_marks_what_no_claim_declares(root: Path) -> None:
    claim = "[{contrast: {data: random}, baseline: {data: s1k}, points: {task: tiny_calc}}]"
    sweep = fabricate(root, "data=random,s1k", "task=tiny_calc,tiny_choice", f"claims={claim}")
    html = report.write(sweep).read_text(encoding="utf-8")
    text = " ".join(Page(html).text.split())
    assert text.count("Accuracy by training subset, %") == 1
    assert re.search(r'<article class="exhibit" aria-label="What it was trained on">', html)  # not folded
    table = html[html.index("Accuracy by training subset, %") :].split("</table>")[0]
    random = table[table.index('scope="row">random') :].split("</tr>")[0]
    _, declared, _, other = random.split("<td")[1:]
    assert 'class="p"' in declared and "†" not in declared
    assert 'class="p"' not in other and "†" in other
    assert "no claim of the sweep declares this comparison" in text


def test_a_sweep_without_a_single_number_has_a_page(root: Path, tmp_path: Path) -> None:
    sweep = fabricate(root, "task=tiny_calc", failing=["select-"])
    path = report.write(sweep, str(tmp_path / "deep" / "page.html"))
    assert "select failed" in Page(path.read_text(encoding="utf-8")).text
    with pytest.raises(UserError, match="nothing to draw"):
        plots.curve(results.cells(sweep), tmp_path / "curve.svg")


def test_long_traces_stay_within_the_budget_and_keep_what_was_appended(root: Path) -> None:
    sweep = fabricate(root, "task=tiny_calc", "extrapolation=none,wait")
    cells = results.cells(sweep)
    all_of_it = samples.samples(sweep.store, cells)
    assert not all_of_it.shortened
    some = samples.samples(sweep.store, cells, budget=20_000)
    assert some.shortened
    assert len(samples.script_json(some.groups)) < 21_000
    for name, group in some.groups.items():
        full = all_of_it.groups[name]["rows"]
        assert [row["id"] for row in group["rows"]] == [row["id"] for row in full[: len(group["rows"])]]
    pieces = samples._fitted([["x" * 9_000, 0, 90], ["Wait", 1, 91], ["y" * 1_000, 0, 99]], 1_000)
    assert pieces[1] == ["Wait", 1, 91]
    assert "8,100 characters left out" in pieces[0][0]


def test_all_cells_of_a_task_show_the_same_questions(root: Path) -> None:
    # One cell's traces are far longer; it must not show fewer questions than the cell it is compared with.
    fabricate(root, "task=tiny_calc", "method.max_thinking_tokens=8")
    long = ("extrapolation=wait", "extrapolation.num_ignore=9", "sampling=sampled", "sampling.samples=2")
    sweep = fabricate(root, "task=tiny_calc,tiny_hard", *long)
    found = samples.samples(sweep.store, results.cells(sweep), budget=30_000)
    shown: dict[str, list[list[tuple[str, int]]]] = {}
    for group in found.groups.values():
        shown.setdefault(group["task"], []).append([(row["id"], row.get("sample", 0)) for row in group["rows"]])
    (short, longer), (hard,) = shown["0"], shown["1"]
    assert short == longer and 0 < len(short) < 80
    assert all(sample == 0 for _, sample in hard)  # first samples of more questions before second samples


def test_pieces_know_the_tokens_before_them() -> None:
    row = {
        "thinking_ids": [1] * 9,
        "injected": [[3, 4], [4, 6]],
        "thinking": [["ab", False], ["Wait", True], ["Hm", True], ["c", False]],
    }
    assert samples._pieces(row) == [["ab", 0, 3], ["Wait", 1, 4], ["Hm", 1, 6], ["c", 0, 9]]
    row["thinking"] = [["ab", False], ["Hm", True], ["c", False]]  # an appended string that decodes to nothing
    assert [end for *_, end in samples._pieces(row)] == [None] * 3


def test_the_figure_is_reproducible_and_keeps_its_text(root: Path, tmp_path: Path) -> None:
    cells = results.cells(fabricate(root, "task=tiny_calc,tiny_choice", "method.max_thinking_tokens=16,64,128"))
    one, two = (plots.curve(cells, tmp_path / f"{name}.svg").read_bytes() for name in ("one", "two"))
    assert one == two
    assert b">mean thinking tokens (log scale)</text>" in one
    assert plots.curve(cells, tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(UserError, match="no figure file"):
        plots.curve(cells, tmp_path / "curve.docx")


def test_each_point_of_a_panel_names_its_cell(root: Path) -> None:
    cells = results.cells(fabricate(root, "task=tiny_calc,tiny_choice", "extrapolation=none,wait"))
    panels = plots.panels_svg(accuracy_figure(cells))
    assert [title for title, _ in panels] == ["tiny_calc", "tiny_choice"]
    for task, svg in panels:
        keys = re.findall(r'class="point" data-cell="(\w+)"', svg)
        assert sorted(keys) == sorted(cell.key for cell in cells if cell.axes["task"] == task)
        assert {json.loads(unescape(axes))["task"] for axes in re.findall(r'data-axes="([^"]+)"', svg)} == {task}
        assert svg.count("<title>") == len(keys) and "thinking tokens, 80 questions</title>" in svg
        assert "<style" not in svg and plots.INK not in svg and "currentColor" in svg
    ids = re.findall(r' id="([^"]+)"', "".join(svg for _, svg in panels))
    assert len(ids) == len(set(ids))


def test_curves_run_over_caps_and_over_ignores(root: Path) -> None:
    fabricate(root, "task=tiny_calc", "method.max_thinking_tokens=64,16,256")
    sweep = fabricate(root, "task=tiny_calc", "extrapolation=wait", "extrapolation.num_ignore=4,1,2")
    plain, wait = curves(results.cells(sweep))
    assert (plain.string, wait.string) == (PLAIN, "Wait")
    assert [cell.spec["method"]["max_thinking_tokens"] for cell in plain.cells] == [16, 64, 256]
    assert wait.anchored
    assert [cell.spec["extrapolation"]["num_ignore"] for cell in wait.cells] == [0, 1, 2, 4]


def test_a_page_is_written_anew_only_where_something_became_of_its_cells(root: Path) -> None:
    sweep = fabricate(root, "train=none", "extrapolation=none,wait")
    path = report.refresh(sweep)
    written = path.stat().st_mtime_ns
    assert report.refresh(sweep).stat().st_mtime_ns == written
    sweep.store.withdraw(sweep.cells()[0].stages["grade"])
    assert report.refresh(sweep).stat().st_mtime_ns > written
    written = path.stat().st_mtime_ns
    sweep.open("other notes", [])
    assert "other notes" in report.refresh(sweep).read_text(encoding="utf-8")
    assert path.stat().st_mtime_ns > written
