"""Sub-grids of experiment files: zipped and conditional axes, exclusions, and what the command line does to them."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1sweep.compose.grids import Cell, Reader, read
from s1sweep.errors import UserError
from tests.helpers import compose

READER = Reader(lambda key, value: [str(v) for v in (value if isinstance(value, list) else [value])])
NAMES = ("a", "b", "c", "d")
VALUES = st.lists(st.integers(0, 5).map(str), min_size=1, max_size=3, unique=True)
AXES = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3)


def cells(axes: Any, **given: list[str]) -> list[Cell]:
    return read("main", axes, READER).cells(given)


def plain(axes: dict[str, list[str]]) -> list[Cell]:
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


@given(AXES)
def test_plain_axes_are_their_product_the_last_the_fastest(axes: dict[str, list[str]]) -> None:
    assert cells(axes) == plain(axes)


@given(AXES, VALUES, st.booleans())
def test_a_zip_of_one_axis_is_that_axis(axes: dict[str, list[str]], values: list[str], listed: bool) -> None:
    zipped = {"e": values} if listed else [{"e": value} for value in values]
    assert cells({**axes, "zip": zipped}) == plain({**axes, "e": values})


@given(AXES, st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=4))
def test_zipped_axes_move_together(axes: dict[str, list[str]], points: list[tuple[int, int]]) -> None:
    rows = [{"x": str(x), "y": str(y)} for x, y in points]
    found = cells({**axes, "zip": rows})
    assert found == [before | row for before in plain(axes) for row in rows]
    assert found == cells({**axes, "zip": {"x": [x for x, _ in points], "y": [y for _, y in points]}})


@given(AXES.filter(bool), st.data())
def test_exclusion_is_a_filter_that_keeps_the_order(axes: dict[str, list[str]], data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.sampled_from(sorted(axes)), min_size=1, unique=True))
    left_out = {key: data.draw(st.lists(st.sampled_from(axes[key]), min_size=1, unique=True)) for key in keys}
    found = cells({**axes, "exclude": [left_out]})
    assert found == [c for c in plain(axes) if not all(c[key] in values for key, values in left_out.items())]
    assert cells({**axes, "exclude": []}) == plain(axes)


@given(AXES.filter(lambda axes: "a" in axes), VALUES)
def test_conditional_axes_are_those_of_the_cells_that_have_the_value(
    axes: dict[str, list[str]], own: list[str]
) -> None:
    value = axes["a"][0]
    found = cells({**axes, "when": {"a": {value: {"e": own}}}})
    expected = []
    for cell in plain(axes):
        expected += [{**cell, "e": e} for e in own] if cell["a"] == value else [cell]
    assert found == expected


@given(AXES, AXES)
def test_given_axes_replace_in_place_and_the_rest_come_last(
    axes: dict[str, list[str]], given_: dict[str, list[str]]
) -> None:
    assert cells(axes, **given_) == plain({**axes, **given_})


def test_given_axes_and_zips() -> None:
    sizes = {"zip": [{"data": "s1k", "size": 1}, {"data": "random", "size": 1}, {"data": "random", "size": 2}]}
    assert cells(sizes, size=["7"]) == [{"data": "s1k", "size": "7"}, {"data": "random", "size": "7"}]
    assert cells(sizes, data=["x", "y"])[:3] == [
        {"size": "1", "data": "x"},
        {"size": "1", "data": "y"},
        {"size": "2", "data": "x"},
    ]
    assert cells(sizes, data=["x"], size=["1"]) == [{"data": "x", "size": "1"}]


def test_given_axes_of_a_condition_stay_where_it_holds() -> None:
    grid = {"method": ["plain", "tree"], "when": {"method": {"tree": {"width": [2, 8]}}}}
    assert cells(grid, width=["4"]) == [{"method": "plain"}, {"method": "tree", "width": "4"}]
    assert cells(grid, method=["other"]) == [{"method": "other"}]


def test_a_condition_replaces_and_a_later_one_sees_it() -> None:
    grid = {
        "method": ["plain", "tree"],
        "cap": [8],
        "when": {"method": {"tree": {"cap": [1, 2]}}, "cap": {2: {"deep": ["yes"]}}},
    }
    assert cells(grid) == [
        {"method": "plain", "cap": "8"},
        {"method": "tree", "cap": "1"},
        {"method": "tree", "cap": "2", "deep": "yes"},
    ]


def test_exclusions_are_checked_against_the_file_and_applied_to_what_is_given() -> None:
    grid = {"a": [1, 2], "b": [1, 2], "exclude": [{"a": 1, "b": 2}]}
    assert len(cells(grid)) == 3
    assert cells(grid, b=["9"]) == [{"a": "1", "b": "9"}, {"a": "2", "b": "9"}]
    assert cells(grid, a=["1"], b=["2"]) == []


GRID = {"method": ["budget_forcing", "rejection"], "task": ["calc", "hard"]}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"exclude": [{"metod": "rejection"}]}, ["grids.main.exclude[0]", "metod", "Did you mean 'method'"]),
        ({"exclude": [{"task": "calc"}, {"task": "hrd"}]}, ["exclude[1]", "task=hrd", "Did you mean 'hard'"]),
        ({"exclude": [{}]}, ["exclude[0] is empty"]),
        ({"exclude": {"task": "calc"}}, ["grids.main.exclude", "list of mappings"]),
        ({"when": {"method": {"rejectoin": {"x": 1}}}}, ["when", "rejectoin", "Did you mean 'rejection'"]),
        ({"when": {"method": "rejection"}}, ["grids.main.when.method='rejection'", "mapping"]),
        ({"when": {"taks": {"calc": {"x": 1}}}}, ["taks", "Did you mean 'task'"]),
        ({"zip": {"x": [1, 2], "y": [1, 2, 3]}}, ["grids.main.zip", "x has 2", "y has 3"]),
        ({"zip": [{"x": 1, "y": 1}, {"x": 2}]}, ["zip[1]", "y is not in all"]),
        ({"zip": []}, ["zip holds no points"]),
        ({"zip": [{"task": "calc"}]}, ["zip", "task is an axis of grids.main too"]),
        (
            {"when": {"method": {"rejection": {"tries": [1]}}}, "exclude": [{"method": "budget_forcing", "tries": 1}]},
            ["exclude[0]", "no cell of the grid has", "together"],
        ),
    ],
)
def test_mistakes_name_the_entry_and_the_nearest(more: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        cells({**GRID, **more})
    for word in words:
        assert word in str(error.value)


EXPERIMENT = """# @package _global_
name: mine
grids:
  shaped:
    zip:
      - {data: s1k, data.size: 64}
      - {data: random, data.size: 128}
    method: [budget_forcing, rejection]
    method.max_thinking_tokens: ${scale.caps}
    when:
      method:
        rejection: {sampling: sampled, method.max_tries: [8, 32]}
    exclude:
      - {method: rejection, method.max_thinking_tokens: [8, 16, 32, 64, 128]}
      - {data: random, method.max_thinking_tokens: "${scale.cap}"}
"""


def test_an_experiment_file_with_all_three(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text(EXPERIMENT)
    found = compose("experiment=mine", "--config-dir", str(tmp_path))
    shown = [(c.cell.data.rule, c.cell.data.size, c.cell.method.kind, c.cell.method.max_thinking_tokens) for c in found]
    assert shown == [
        *[("s1k", 64, "budget_forcing", cap) for cap in (8, 16, 32, 64, 128, 256)],
        *[("s1k", 64, "rejection", 256)] * 2,
        *[("random", 128, "budget_forcing", cap) for cap in (8, 16, 32, 64, 128)],
    ]
    assert [c.cell.method.max_tries for c in found if c.cell.method.kind == "rejection"] == [8, 32]
    with pytest.raises(UserError, match="leaves none"):
        compose(
            "experiment=mine",
            "data=random",
            "data.size=64",
            "method.max_thinking_tokens=256",
            "--config-dir",
            str(tmp_path),
        )
