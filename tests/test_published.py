"""The published numbers are whole, agree among themselves, and come with where they are from."""

from __future__ import annotations

import subprocess
import sys

import pytest

from s1sweep.analysis.published import names, published
from tests.helpers import ROOT

QUESTIONS = {"AIME24": 30, "AIME25": 30, "MATH500": 500, "GPQA": 198}


def test_all_of_it_loads_and_says_where_it_is_from() -> None:
    tables = {f"table{i}" for i in (1, 2, 3, 4, 5, 8, 12)}
    assert tables <= set(names())
    for name in names():
        found = published(name)
        assert found.title and ("arXiv:2501.19393v3" in found.source or "GitHub" in found.source)
        assert found.status.startswith(("printed", "digitised from the", "computed"))
        assert bool(found.rows) != bool(found.curves)
        assert found.status == "printed" or name not in tables
        for curve in found.curves.values():
            sizes = {len(part) for part in (curve.thinking_tokens, curve.limits, curve.answer_tokens) if part}
            assert sizes <= {len(curve.accuracy)}


def test_scores_are_of_whole_questions() -> None:
    """Digitised points and those of s1's own tables are so many right of so many, to the printed decimal."""
    for name in names():
        for curve in published(name).curves.values():
            for a in curve.accuracy:
                assert abs(100 * round(a * curve.questions / 100) / curve.questions - a) < 0.051
    for name in ("table2", "table4"):
        for cells in published(name).rows.values():
            for task, number in cells.items():
                right = (number.value or 0) * QUESTIONS[task] / 100
                assert abs(round(right) - right) < 0.06 * QUESTIONS[task] / 100  # 108 of 198 is printed as 54.6


def test_points_are_not_rounded() -> None:
    curve = published("table12").curves["TCC"]
    assert curve.points[0] == (7939, pytest.approx(100 * 8 / 30, abs=1e-12))
    assert published("figure4").curves["GPQA sequential"].points == []


def test_the_tables_agree_with_each_other() -> None:
    one, two, four = published("table1"), published("table2"), published("table4")
    assert one.value("s1-32B", "AIME24") == max(published("figure1").curves["AIME24"].accuracy)
    assert two.value("s1K", "GPQA") == four.value("no extrapolation", "GPQA")
    assert two.rows["1K-random"]["AIME24"].low == -26.7
    for arm, counts in published("table2_discordance").rows.items():
        gained, lost = counts["gained"].value or 0, counts["lost"].value or 0
        difference = two.value(arm, "AIME24") - two.value("s1K", "AIME24")
        assert 100 * (gained - lost) / 30 == pytest.approx(difference, abs=0.1)
    five, base = published("table5"), published("table1")
    assert five.value("s1 w/o BF", "MATH500") == base.value("s1 w/o BF", "MATH500")


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"table99.*table1"):
        published("table99")
    with pytest.raises(KeyError, match="Gemini"):
        published("table1").value("Gemini 2.0 Flash Thinking", "GPQA")


def test_published_numbers_need_no_numpy_and_tools_may_import_from_the_root() -> None:
    code = "import sys; sys.modules['numpy'] = None; from analysis.published import published; published('table3')"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    code = "from analysis.stats import paired_bootstrap; from analysis.metrics import control"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
