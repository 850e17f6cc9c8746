"""The page in a real browser: Chromium through Playwright, with real clicks and keys. Skips where there is none."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from s1sweep.analysis import claims, report, results
from s1sweep.analysis.claims import Finding
from s1sweep.store import Sweep
from tests.test_analysis import fabricate
from tests.test_report import NASTY, nasty_task

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install s1sweep[dev])")

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Like the quickstart, with nasty questions: arms of which one failed, strings, a ladder of caps."""
    tmp_path = tmp_path_factory.mktemp("page")
    task = ("task=file", "task.name=nasty", "task.grader=math", f"task.path={nasty_task(tmp_path)}")
    root = tmp_path / "store"
    fabricate(root, *task, "data=random,longest,s1k", "extrapolation=none,wait", failing=["train-tiny-longest"])
    fabricate(root, "task=tiny_calc", "data=s1k", "method.max_thinking_tokens=16,64", "extrapolation=none,wait")
    return fabricate(root, *task, "data=s1k", "method.max_thinking_tokens=16,64")


@pytest.fixture(scope="module")
def page_file(sweep: Sweep) -> Path:
    return report.write(sweep)


@contextmanager
def opened(
    chromium: Any, path: Path, fragment: str = "", viewport: dict[str, int] = WIDE, **look: Any
) -> Iterator[Any]:
    """A page that must not say a word on the console or ask for anything."""
    context = chromium.new_context(viewport=viewport, reduced_motion="reduce", **look)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith("file:") else said.append(request.url))
    page.goto(path.as_uri() + fragment)
    yield page
    assert said == []
    context.close()


def shown_rows(page: Any) -> int:
    return page.locator("#table tbody tr:visible").count()


def test_it_opens_with_a_sample_and_says_nothing_on_the_console(chromium: Any, page_file: Path) -> None:
    with opened(chromium, page_file) as page:
        assert page.locator("#sample h3").first.inner_text() == "Question <i>0</i>"
        assert page.locator("#shown").inner_text() == "12 cells"
        assert shown_rows(page) == 12


def test_text_from_data_is_seen_and_does_nothing(chromium: Any, page_file: Path) -> None:
    with opened(chromium, page_file) as page:
        asked = page.locator("#sample .question").inner_text()
        assert " ".join(asked.split()) == " ".join(f"0 {NASTY}".split())
        assert page.title() == "made · s1sweep"
        assert page.locator("main img, main u, #sample i").count() == 0
        assert page.locator("#sample .gold b").inner_text() == "<u>4</u>"


def test_the_filter_holds_for_tables_figures_grid_and_lists(chromium: Any, page_file: Path) -> None:
    with opened(chromium, page_file) as page:
        offered = page.locator("#cell option").count()
        page.get_by_role("button", name="by axis").click()
        page.locator("#axes").get_by_label("s1k", exact=True).uncheck()
        assert page.locator("#shown").inner_text() == "4 of 12 cells"
        assert shown_rows(page) == 4
        keys = page.evaluate("data.cells.filter((cell) => valueOf(cell, 1) === 's1k').map((cell) => cell.key)")
        dimmed = page.evaluate("[...document.querySelectorAll('.point.out')].map((node) => node.dataset.cell)")
        assert len(keys) == 8 and set(dimmed) == set(keys)
        lines = page.evaluate(
            "[...document.querySelectorAll('.line')].map((n) => [n.dataset.axes, n.classList.contains('out')])"
        )
        assert lines and all(out == ("s1k" in axes) for axes, out in lines)
        page.locator("#grid-rows").select_option(label="data")
        squares = page.evaluate(
            "[...document.querySelectorAll('#heat button')].map((n) => [n.dataset.cell, n.classList.contains('out')])"
        )
        assert squares and all(out == (key in keys) for key, out in squares)
        assert page.locator("#cell option").count() < offered
        page.get_by_role("button", name="show all").click()
        assert shown_rows(page) == 12 and page.locator(".out").count() == 0


def test_slash_filters_by_words(chromium: Any, page_file: Path) -> None:
    with opened(chromium, page_file) as page:
        page.keyboard.press("/")
        page.keyboard.type("nasty s1k wait")
        assert page.locator("#shown").inner_text() == "1 of 12 cells"
        assert shown_rows(page) == 1
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        assert page.locator("#keys").is_visible()
        page.keyboard.press("Escape")
        assert not page.locator("#keys").is_visible()


def test_a_point_tells_its_numbers_and_opens_its_samples(chromium: Any, page_file: Path, sweep: Sweep) -> None:
    with opened(chromium, page_file) as page:
        point = page.locator("#figures .point").last
        key = point.get_attribute("data-cell")
        cell = next(cell for cell in results.cells(sweep) if cell.key == key)
        point.scroll_into_view_if_needed()
        point.hover(force=True)
        tip = page.locator("#tip")
        assert f"{100 * (cell.accuracy or 0):.1f}" in tip.inner_text() and f"{cell.n} questions" in tip.inner_text()
        point.click(force=True)
        assert page.locator("#cell").input_value() == key
        drawing = page.locator("#figures svg").first
        drawing.focus()
        page.keyboard.press("ArrowRight")
        assert "thinking tokens" in tip.inner_text()
        at = page.locator(".point.at").get_attribute("data-cell")
        page.keyboard.press("Enter")
        assert page.locator("#cell").input_value() == at


def test_the_grid_shows_numbers_intervals_and_why_some_are_missing(
    chromium: Any, page_file: Path, sweep: Sweep
) -> None:
    with opened(chromium, page_file, color_scheme="dark") as page:
        page.locator("#grid-rows").select_option(label="data")
        page.locator("#grid-columns").select_option(label="extrapolation")
        page.locator("#grid-at").select_option(index=0)
        cells = {cell.key: cell for cell in results.cells(sweep)}
        squares = page.locator("#heat button").all()
        assert len(squares) == 6
        for square in squares:
            cell = cells[square.get_attribute("data-cell")]
            square.hover()
            said = page.locator("#tip").inner_text()
            if cell.missing is not None:
                assert square.inner_text() == "train failed" and "lost <b>GPU</b>" in said
                continue
            assert square.inner_text() == f"{100 * (cell.accuracy or 0):.1f}"
            assert f"[{100 * (cell.ci_low or 0):.1f}, {100 * (cell.ci_high or 0):.1f}]" in said
            style = square.evaluate("(n) => [getComputedStyle(n).backgroundColor, getComputedStyle(n).color]")
            assert contrast(*style) >= 4.5
        squares[0].click()
        assert page.locator("#cell").input_value() == squares[0].get_attribute("data-cell")


def contrast(a: str, b: str) -> float:
    """Contrast of two `rgb()` colours (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        channels = [int(v) / 255 for v in re.findall(r"\d+", colour)[:3]]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_samples_by_keys_and_clicks(chromium: Any, page_file: Path) -> None:
    with opened(chromium, page_file) as page:
        head = page.locator("#sample h3").first
        page.keyboard.press("j")
        assert head.inner_text() == "Question <i>1</i>"
        page.locator("#list").focus()
        page.keyboard.press("End")
        assert head.inner_text() == "Question <i>2</i>"
        page.keyboard.press("k")
        assert head.inner_text() == "Question <i>1</i>"
        page.locator("#list li").nth(0).click()
        assert head.inner_text() == "Question <i>0</i>"
        assert page.url.endswith("/%3Ci%3E0%3C%2Fi%3E")


def test_a_link_opens_its_sample_with_what_was_appended_and_answers_on_the_way(
    chromium: Any, page_file: Path, sweep: Sweep
) -> None:
    def wanted(cell: results.CellResult) -> bool:
        return cell.spec["extrapolation"]["num_ignore"] == 2 and cell.spec["task"]["name"] == "tiny_calc"

    cell = next(
        cell for cell in results.cells(sweep) if wanted(cell) and cell.spec["method"]["max_thinking_tokens"] == 64
    )
    row = next(row for row in results.readouts(sweep.store, cell) if row["injected"])
    with opened(chromium, page_file, f"#sample={cell.key}/{row['question_id']}") as page:
        assert page.locator("#sample h3").first.inner_text() == f"Question {row['question_id']}"
        assert page.locator("#sample mark").all_inner_texts() == ["Wait", "Wait"]
        tokens = [int(text) for text in page.locator("#sample .trace .at").all_inner_texts()[:2]]
        assert tokens == [start for start, _ in row["injected"]]
        ladder = [line.split("\t") for line in page.locator(".ladder tbody tr").all_inner_texts()]
        counts = [int(line[0]) for line in ladder]
        assert all(a <= b for a, b in pairwise(counts))
        assert [line[2:] for line in ladder if "probe" in line[1]] == [["7", "wrong"]] * 2
        siblings = [line for line in ladder if "cap" in line[1]]
        assert len(siblings) == 1  # the other cap
        page.locator(".ladder a").first.click()
        assert page.locator("#cell").input_value() != cell.key
        assert page.locator("#sample h3").first.inner_text() == f"Question {row['question_id']}"


def test_two_cells_side_by_side(chromium: Any, page_file: Path, sweep: Sweep) -> None:
    one, two = [cell for cell in results.cells(sweep) if cell.spec["task"]["name"] == "tiny_calc"][:2]
    verdicts = [{row["question_id"]: row["verdict"] for row in results.readouts(sweep.store, c)} for c in (one, two)]
    differ = [q for q in verdicts[0] if verdicts[0][q] != verdicts[1][q]]
    with opened(chromium, page_file) as page:
        page.locator("#cell").select_option(one.key)
        page.locator("#beside").select_option(two.key)
        assert page.locator("#sample .side").count() == 2
        page.get_by_label("only where the two differ").check()
        assert page.locator("#list li").count() == len(differ) > 0
        page.keyboard.press("j")
        question = page.locator("#sample h3").first.inner_text().removeprefix("Question ")
        assert question == differ[1]
        said = [text.split(":")[0].replace(" ", "_") for text in page.locator("#sample .verdict").all_inner_texts()]
        assert said == [verdicts[0][question], verdicts[1][question]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(chromium: Any, page_file: Path, scheme: str) -> None:
    colours = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    with opened(chromium, page_file, color_scheme=scheme) as page:
        ground, ink = page.evaluate(colours)
        assert contrast(ground, ink) > 10
        assert (contrast(ground, "rgb(0,0,0)") > 10) == (scheme == "light")
        for _ in range(2 if scheme == "light" else 1):  # auto, light, dark
            page.locator("#theme").click()
        other = page.evaluate(colours)[0]
        assert other != ground
        page.reload()
        assert page.evaluate(colours)[0] == other  # remembered


def test_a_browser_that_refuses_storage_still_changes_colours(chromium: Any, page_file: Path) -> None:
    context = chromium.new_context()
    context.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('refused'); }})")
    page = context.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(page_file.as_uri())
    page.keyboard.press("t")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark" and said == []
    context.close()


def test_a_phone_has_no_sideways_scroll(chromium: Any, page_file: Path) -> None:
    with opened(chromium, page_file, viewport=PHONE) as page:
        page.get_by_role("button", name="by axis").click()
        page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        page.locator("#beside").select_option(index=1)
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


def test_every_control_is_reached_by_tab_and_shows_it(chromium: Any, page_file: Path) -> None:
    with opened(chromium, page_file) as page:
        controls = "button:enabled, select:enabled, input:enabled:not([type=radio])"
        visible = "(nodes) => nodes.filter((n) => n.checkVisibility() && !n.closest('table')).map((n) => n.id)"
        wanted = set(page.locator(controls).evaluate_all(visible))
        seen: set[str] = set()
        for _ in range(400):
            page.keyboard.press("Tab")
            at = page.evaluate("[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]")
            if at[0] in wanted:
                assert at[1] != "none", at[0]
            seen.add(at[0])
            if wanted <= seen:
                break
        assert wanted - seen == set()
        assert {"words", "grid-rows", "cell", "beside", "theme"} <= wanted


def test_claims_say_what_they_are_about(
    chromium: Any, sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Finding(
        "data=s1k − data=random", "task=<b>x</b>", "accuracy", {"data": "s1k"}, {"data": "random"}, {},
        value=7.5, low=1.25, high=13.75, p=0.012, holm=0.024, bh=0.024, n="80 questions", test="sign flips",
    )  # fmt: skip
    none = replace(one, value=None, low=None, high=None, holm=None, why="not run yet: <i>data=s1k</i>")
    rules = replace(one, level="rules", holm=0.2, value=-3.0, low=-9.0, high=2.0)
    monkeypatch.setattr(claims, "findings", lambda study: (one, none, rules))
    with opened(chromium, report.write(sweep, str(tmp_path / "claims.html"))) as page:
        lines = [line.split("\t") for line in page.locator("#claims tbody tr").all_inner_texts()]
        about = ["accuracy", "80 questions", "two checkpoints, not two rules"]
        assert lines[0] == ["data=s1k − data=random", "task=<b>x</b>", "+7.5 [+1.2, +13.8]", "0.024", *about]
        assert lines[1][2] == "not run yet: <i>data=s1k</i>"
        assert lines[2][2:4] == ["−3.0 [−9.0, +2.0]", "0.200"] and lines[2][-1] == "rules, over runs"
        page.locator("#claims").get_by_role("button", name="difference").click()
        assert page.locator("#claims tbody tr").first.inner_text().split("\t")[2].startswith("−3.0")
        assert "exploratory" in page.locator("#claims").inner_text()


def test_an_exhibit_opens_filters_and_leads_to_samples(chromium: Any, page_file: Path, sweep: Sweep) -> None:
    with opened(chromium, page_file) as page:
        folded = page.locator("details.exhibit").first
        folded.locator("summary").click()
        assert folded.locator("table.exhibit").first.is_visible()
        exhibit = page.locator("article.exhibit", has_text="Table 4")
        cells = {cell.key: cell for cell in results.cells(sweep)}
        waits = [
            a
            for a in exhibit.locator("td a").all()
            if cells[a.get_attribute("data-cell")].spec["extrapolation"]["num_ignore"]
        ]
        link = waits[0]
        cell = cells[link.get_attribute("data-cell")]
        assert link.inner_text() == f"{100 * (cell.accuracy or 0):.1f}"
        link.click()
        assert page.locator("#cell").input_value() == cell.key
        rows = exhibit.locator("tbody tr:visible").count()
        page.locator("#words").fill("extrapolation none")
        assert 0 < exhibit.locator("tbody tr:visible").count() < rows


def multiplied(sweep: Sweep, times: int) -> Sweep:
    """Every cell of a sweep again with other seeds of its training: same outputs under stages of their own."""
    large = Sweep(sweep.store, "large")
    large.open("", [])
    cells = []
    for cell in sweep.cells():
        for seed in range(times):
            stages = dict(cell.stages)
            for kind in ("decode", "grade"):
                stages[kind] = f"{cell.stages[kind]}{seed:03}"
                sweep.store.stage_dir(stages[kind]).symlink_to(sweep.store.stage_dir(cell.stages[kind]))
            spec = {**cell.spec, "train": {**cell.spec["train"], "seed": seed}}
            axes = {**cell.axes, "train.seed": seed}
            new = {"key": f"{cell.key}{seed:03}", "axes": axes, "spec": spec, "stages": stages}
            cells.append(cell.model_dump(mode="json") | new)
    large.add(cells)
    return large


@pytest.mark.slow
def test_a_thousand_cells(chromium: Any, root: Path) -> None:
    sweep = fabricate(
        root,
        "data=random,s1k",
        "extrapolation=none,wait",
        "method.max_thinking_tokens=16,64,256",
        "task=tiny_calc,tiny_hard",
    )
    large = multiplied(sweep, 42)
    path = report.write(large)
    assert path.stat().st_size < 7_000_000
    with opened(chromium, path) as page:
        assert page.locator("#shown").inner_text() == "1,008 cells"
        assert "first questions" in page.locator("#samples").inner_text()
        page.locator("#words").fill("s1k wait")
        assert page.locator("#shown").inner_text() == "252 of 1,008 cells"
        assert shown_rows(page) == 252
        page.locator("#table tbody tr:visible a").last.click()
        assert page.locator("#sample .question").inner_text() != ""
        assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


def test_a_hundred_cells_stay_below_five_megabytes(root: Path) -> None:
    sweep = fabricate(root, "data=random,s1k", "extrapolation=none,wait", "task=tiny_calc")
    large = multiplied(sweep, 25)
    for cell in sweep.cells():  # traces as long as those of real models
        path = sweep.store.outputs(cell.stages["decode"]) / "readouts.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["thinking"] = [[text * (1 if injected else 2000), injected] for text, injected in row["thinking"]]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert report.write(large).stat().st_size < 5_000_000
