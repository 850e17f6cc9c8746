"""What a sweep cost and what made it, from planted records."""

from __future__ import annotations

from pathlib import Path

import pytest

from s1sweep.analysis import results
from s1sweep.analysis.costs import Costs, costs, decoded_by
from s1sweep.analysis.provenance import provenance, records
from s1sweep.analysis.report import _duration
from s1sweep.store import Record, Store
from tests.planted import keep, record
from tests.test_analysis import fabricate

H100 = {"device": "NVIDIA H100", "tensor_parallel": 2}
ANSWERS = {"readouts": 10, "mean_thinking_tokens": 50.0, "mean_injected_tokens": 2.0, "mean_answer_tokens": 5.0}


def decoded(
    stage: str, started: float, seconds: float, tokens: int, asked: int, reused: int = 0, session: str | None = None
) -> Record:
    """A decode stage of the session so named; of s1sweep 0.1 without a name."""
    cost = {"decoded_tokens": tokens, "requested_tokens": asked, "reused_tokens": reused, "engine": H100}
    named = cost if session is None else {**cost, "session": session}
    return record(stage, started, seconds, named, ANSWERS, {"checkpoint": "train-x"})


def spent_of(found: Costs) -> dict[str, tuple[int, int, float, str]]:
    return {one.kind: (one.stages, one.runs, one.seconds, one.devices) for one in found.spent}


# Each tells of the same two sessions, of which the first served another sweep too, for 40 s in all. Stages of today
# began when their own work did; those of s1sweep 0.1 all began with their session.
SESSIONS = {
    "0.1": [
        decoded("decode-a", 200, 10, 300, 500),
        decoded("decode-b", 200, 25, 400, 1100),
        decoded("decode-c", 900, 5, 0, 200, 200),
        decoded("decode-other", 200, 40, 450, 1500),
    ],
    "today": [
        decoded("decode-a", 200, 10, 300, 500, session="one"),
        decoded("decode-b", 203.5, 21.5, 400, 1100, session="one"),
        decoded("decode-c", 900, 5, 0, 200, 200, session="two"),
        decoded("decode-other", 225, 15, 450, 1500, session="one"),
    ],
}


@pytest.mark.parametrize("written", SESSIONS)
def test_a_session_counts_once_and_from_its_beginning_to_its_end(root: Path, written: str) -> None:
    store, decodes = Store(root), SESSIONS[written]
    keep(store, *decodes)
    planted = [record("train-x", 0, 100, {"workers": 4}), *decodes[:3], record("grade-a", 300, 1)]
    found = costs(store, {**{one.id: one for one in planted}, "grade-b": None})
    assert (found.requested, found.decoded, found.reused, found.shared) == (1700, 450, 200, 1050)
    assert found.purposes == {"thinking": 1440, "injected": 60, "answer": 150}
    spent = spent_of(found)
    assert spent["decode"] == (3, 2, 45, "2 × NVIDIA H100")
    assert spent["train"] == (1, 1, 100, "4 × accelerator")
    assert spent["grade"] == (1, 1, 1, "CPU")
    assert decoded_by(store, [one.id for one in decodes]) == 650


def test_sessions_that_began_at_once_are_told_apart_by_their_names(root: Path) -> None:
    """Two engines of one host, started in the same millisecond on one checkpoint."""
    both = [decoded(f"decode-{name}", 200, 10, 300, 300, session=name) for name in ("one", "two")]
    assert costs(Store(root), {one.id: one for one in both}).decoded == 600


@pytest.mark.parametrize("written", ["0.1", "today"])
def test_a_batch_of_grade_stages_took_as_long_as_it_took(root: Path, written: str) -> None:
    """32 stages of half a second each, one after the other: 16 s, not the 264 s that their ends add up to."""
    own = written == "today"
    batch = [record(f"grade-{i}", 300 + 0.5 * i * own, 0.5 if own else 0.5 * (i + 1)) for i in range(32)]
    later = record("grade-later", 500, 2)
    found = spent_of(costs(Store(root), {one.id: one for one in (*batch, later)}))
    assert found["grade"] == (33, 33 if own else 2, 18, "CPU")


def test_what_a_session_saved_is_unknown_where_it_was_cut_short(root: Path) -> None:
    found = costs(Store(root), {"decode-a": decoded("decode-a", 200, 10, 900, 500)})
    assert (found.decoded, found.shared) == (900, None)


def test_durations_round_as_a_whole() -> None:
    assert [_duration(s) for s in (4.23, 59.96, 119.6, 3600, 7530)] == [
        "4.2 s",
        "1 min 0 s",
        "2 min 0 s",
        "1 h 00 min",
        "2 h 05 min",
    ]


def test_provenance_says_what_is_shared_and_what_is_mixed(root: Path) -> None:
    sweep = fabricate(root, "data=random,s1k", "task=tiny_calc", failing=["train-tiny-s1k"])
    cells = results.cells(sweep)
    made = records(sweep.store, cells)
    found = provenance(cells, made)
    assert found.mixed == []
    assert found.stages["train"] == (1, 2) and found.stages["grade"] == (1, 2)
    assert found.shared["task.name"] == "tiny_calc" and "data.rule" not in found.shared
    assert found.engines["engine"] == ["dice 1.0"]
    assert any(what == "task tiny_calc" for what, _ in found.read)
    stage = cells[0].stages["grade"]
    other = made[stage]
    assert other is not None
    older = other.model_copy(update={"provenance": other.provenance.model_copy(update={"code": {"s1sweep": "0.0.1"}})})
    assert provenance(cells, {**made, stage: older}).mixed == ["s1sweep"]
