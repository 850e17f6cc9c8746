"""What a sweep cost and what made it, from planted records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from s1sweep.analysis import results
from s1sweep.analysis.costs import costs
from s1sweep.analysis.provenance import provenance, records
from s1sweep.analysis.report import _duration
from s1sweep.store import Store
from tests.test_analysis import fabricate


def record(
    started: float, seconds: float, cost: dict[str, Any], summary: dict[str, Any], **made: Any
) -> dict[str, Any]:
    provenance = {"attempt": "a", "started": started, "seconds": seconds, "cost": cost, "host": "vm"}
    provenance |= {"code": {"s1sweep": "1"}, "environment": {"torch": "2.13.0"}, **made}
    hashed = {"inputs": {"checkpoint": "train-x"}, "content": {}, "spec": {}}
    return {"result": {"summary": summary, "hashed": hashed}, "provenance": provenance}


def decoded(tokens: int, asked: int, reused: int = 0) -> dict[str, Any]:
    engine = {"device": "NVIDIA H100", "tensor_parallel": 2}
    return {"decoded_tokens": tokens, "requested_tokens": asked, "reused_tokens": reused, "engine": engine}


def test_a_session_counts_once_and_by_its_last_record(root: Path) -> None:
    answers = {"readouts": 10, "mean_thinking_tokens": 50.0, "mean_injected_tokens": 2.0, "mean_answer_tokens": 5.0}
    store = Store(root)
    # A later stage of the first session belongs to another sweep: what it asked for is asked of the same session.
    other = store.stage_dir("decode-other")
    other.mkdir(parents=True)
    (other / "record.json").write_text(json.dumps(record(200, 40, decoded(450, 1500), answers)))
    planted = {
        "train-x": record(0, 100, {"workers": 4}, {}),
        "decode-a": record(200, 10, decoded(300, 500), answers),
        "decode-b": record(200, 25, decoded(400, 1100), answers),  # the same session, later
        "decode-c": record(900, 5, decoded(0, 200, 200), answers),
        "grade-a": record(300, 1, {}, {}),
        "grade-b": None,
    }
    found = costs(store, planted)
    assert (found.requested, found.decoded, found.reused, found.shared) == (1700, 450, 200, 1050)
    assert found.purposes == {"thinking": 1440, "injected": 60, "answer": 150}
    spent = {one.kind: (one.stages, one.runs, one.seconds, one.devices) for one in found.spent}
    assert spent["decode"] == (3, 2, 45, "2 × NVIDIA H100")
    assert spent["train"] == (1, 1, 100, "4 × accelerator")
    assert spent["grade"] == (1, 1, 1, "CPU")


def test_what_a_session_saved_is_unknown_where_it_was_cut_short(root: Path) -> None:
    found = costs(Store(root), {"decode-a": record(200, 10, decoded(900, 500), {"readouts": 1})})
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
    older = {**other, "provenance": {**other["provenance"], "code": {"s1sweep": "0.0.1"}}}
    assert provenance(cells, {**made, stage: older}).mixed == ["s1sweep"]
