"""After an upgrade a plan says what is to be done again, and because of which component."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from s1sweep.answers.graders import GRADERS
from s1sweep.cli import main
from s1sweep.data import select
from s1sweep.decoding.methods import METHODS
from s1sweep.grading import grade
from s1sweep.identity import canonical, digest, digests_with
from s1sweep.planning import KnownIds, Plan, model_stages
from s1sweep.planning.upgrades import Upgrade, upgrades
from s1sweep.store import Store
from tests.test_known_ids import GRID, finish, planned, trainings


def said(store: Store, plan: Plan) -> list[str]:
    return [str(upgrade) for upgrade in upgrades(plan, plan.needed(plan.reused(store)), store)]


def again(store: Store, name: str = "tiny") -> Plan:
    return planned(name, known=KnownIds.of(store))


@pytest.fixture
def graded_before(monkeypatch: pytest.MonkeyPatch, root: Path) -> Store:
    """A finished sweep of 8 cells and 2 trainings, graded by the grader before this one."""
    with monkeypatch.context() as patch:
        math = GRADERS["math"]
        patch.setitem(GRADERS, "math", replace(math, version=math.version - 1))
        finish(Store(root), *planned().stages.values())
    return Store(root)


def test_a_new_grader_regrades_and_decodes_nothing(graded_before: Store) -> None:
    now = GRADERS["math"].version
    plan = again(graded_before)
    (upgrade,) = upgrades(plan, plan.needed(plan.reused(graded_before)), graded_before)
    assert upgrade == Upgrade("grader", now - 1, now, {"train": 0, "decode": 0, "grade": 8})
    assert str(upgrade) == f"grader {now - 1} -> {now}: 8 regraded, 0 decoded, 0 trained"


def test_what_reads_a_stage_that_is_done_again_is_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, version = Store(root), model_stages.decode.VERSION
    finish(store, *planned().stages.values())
    monkeypatch.setattr(model_stages.decode, "VERSION", version + 1)
    assert said(store, again(store)) == [f"decode {version} -> {version + 1}: 8 regraded, 8 decoded, 0 trained"]
    assert said(store, again(store, "renamed")) == said(store, again(store)), "whatever the model is called"
    monkeypatch.setattr(grade, "VERSION", grade.VERSION + 3)
    assert said(store, again(store)) == [
        f"decode {version} -> {version + 1}: 8 regraded, 8 decoded, 0 trained",
        f"grade {grade.VERSION - 3} -> {grade.VERSION}: 8 regraded, 0 decoded, 0 trained",
    ]


@pytest.mark.parametrize("checkpoints", [True, False])
def test_from_the_subset_on_even_where_an_archive_brought_no_checkpoints(
    root: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: bool
) -> None:
    store, old = Store(root), planned()
    left = [] if checkpoints else trainings(old)
    finish(store, *(stage for stage in old.stages.values() if stage not in left))
    monkeypatch.setattr(select, "VERSION", select.VERSION + 1)
    trained = 2 if checkpoints else 0
    assert said(store, again(store)) == [
        f"select {select.VERSION - 1} -> {select.VERSION}: 8 regraded, 8 decoded, {trained} trained, 2 selected"
    ]


def test_a_component_that_there_was_not(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, versions = Store(root), model_stages.decode_versions
    finish(store, *planned().stages.values())
    monkeypatch.setattr(model_stages, "decode_versions", lambda method: {**versions(method), "confidence": 1})
    assert said(store, again(store)) == ["confidence none -> 1: 8 regraded, 8 decoded, 0 trained"]


def test_what_is_new_for_other_reasons_is_no_upgrade(graded_before: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells that nobody has asked for, what was withdrawn, and what was only begun by the older version."""
    store = graded_before
    now = GRADERS["math"].version
    more = planned(known=KnownIds.of(store), strings="none,wait,hmm")
    assert said(store, more) == [f"grader {now - 1} -> {now}: 8 regraded, 0 decoded, 0 trained"]
    assert said(store, planned(known=KnownIds.of(store), strings="hmm")) == []
    assert said(Store(store.root / "empty"), planned()) == []
    old = next(name for name in store.stage_ids() if name.startswith("grade-"))
    store.withdraw(old)
    assert said(store, again(store)) == [f"grader {now - 1} -> {now}: 7 regraded, 0 decoded, 0 trained"]
    finish(store, *again(store).needed(again(store).reused(store)).values())
    assert said(store, again(store)) == []


def test_no_record_is_read_twice_and_none_of_other_work(graded_before: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a large store costs no more than a small one: what an id was is worked out, not searched for."""
    store = graded_before
    plan, grades = again(store), {name for name in store.stage_ids() if name.startswith("grade-")}
    missing = plan.needed(plan.reused(store))
    read: list[str] = []
    record = Store.record
    monkeypatch.setattr(Store, "record", lambda self, name: read.append(name) or record(self, name))
    assert upgrades(plan, missing, store)
    assert sorted(read) == sorted(grades)
    read.clear()
    assert upgrades(plan, {}, store) == [] and not read
    for name in METHODS:
        monkeypatch.setattr(METHODS[name], "VERSION", 50)  # too far from any that the store can have
    assert said(store, again(store)) == []


def test_plan_says_so(graded_before: Store) -> None:
    command = ("plan", "-m", *GRID, "train=tiny", f"placement.root={graded_before.url}")
    told = CliRunner().invoke(main, command, env={"COLUMNS": "200"})
    now = GRADERS["math"].version
    assert f"After an upgrade: grader {now - 1} -> {now}: 8 regraded, 0 decoded, 0 trained.\n" in told.output
    found = json.loads(CliRunner().invoke(main, [*command, "--json"]).output)
    counts = {"train": 0, "decode": 0, "grade": 8}
    assert found["upgrades"] == [{"component": "grader", "old": now - 1, "new": now, "again": counts}]


VERSIONS = st.dictionaries(st.text(max_size=8), st.integers(0, 9), max_size=4)


@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text() | st.none()), st.lists(VERSIONS, max_size=5))
def test_digests_with_other_versions_are_the_digests(spec: Mapping[str, object], versions: list[dict]) -> None:
    """Whatever else is in the JSON, a part that looks like its end among it."""
    hashed = {"kind": "x", "spec": {**spec, "versions": {}}, "inputs": {"z": '"versions":{}}'}, "versions": {"a": 1}}
    assert list(digests_with(hashed, map(canonical, versions))) == [
        digest({**hashed, "versions": each}) for each in versions
    ]
