"""A submission comes back from the store as it went in; orders hold by time; code that is frozen stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s1sweep.errors import UserError
from s1sweep.planning import Plan
from s1sweep.policy import Capacity
from s1sweep.queue import view
from s1sweep.queue.code import freeze, thaw
from s1sweep.queue.service import Service
from s1sweep.queue.submission import State, Submission, Submissions, new_id
from s1sweep.runtime.backend import InProcessBackend
from s1sweep.store import Store
from tests.helpers import compose

COMMAND = ("-m", "data=random,diverse", "task=tiny_calc")


def submission(user: str = "ann", sweep: str = "made", now: float = 1e9) -> Submission:
    cells, plan = compose(*COMMAND[1:]), Plan()
    for cell in cells:
        plan.add(cell.cell, {})
    return Submission(
        id=new_id(sweep, COMMAND, now),
        sweep=sweep,
        user=user,
        host="here",
        submitted=now,
        priority=0,
        command=COMMAND,
        placement=cells[0].placement,
        tracking=cells[0].tracking,
        stages=plan.stages,
        expected={name: 1.5 for name in plan.stages},
    )


def test_what_was_submitted_comes_back(url: str) -> None:
    asked, queue = submission(), Submissions(Store(url))
    queue.add(asked)
    found = Submissions(Store(url)).get(asked.id)
    assert found == asked and list(found.stages) == list(asked.stages)
    assert queue.state(asked) == State()
    queue.say(asked, State("running", 1.0, 3, ("train-a",), why={"train-b": "no GPU is free"}))
    assert queue.state(asked) == State("running", 1.0, 3, ("train-a",), why={"train-b": "no GPU is free"})


def test_the_newest_order_of_a_kind_holds(url: str) -> None:
    asked, queue = submission(), Submissions(Store(url))
    queue.add(asked)
    for verb, value in [("priority", 3), ("pause", None), ("priority", 5), ("resume", None)]:
        queue.order(asked, verb, "ann", value)  # type: ignore[arg-type]
    standing = queue.standing(asked)
    assert (standing.priority, standing.paused, standing.cancelled) == (5, False, None)
    with pytest.raises(UserError, match=r"belongs to 'ann', and you are 'ben'.*--admin"):
        queue.order(asked, "cancel", "ben")
    assert queue.standing(asked) == standing
    queue.order(asked, "cancel", "ben", admin=True)
    assert queue.standing(asked).cancelled == "ben"


def test_submissions_are_found_by_sweep_or_id(root: Path) -> None:
    queue = Submissions(Store(root))
    first, second, other = submission(now=1e9), submission(now=2e9), submission(sweep="other")
    for one in (second, first, other):
        queue.add(one)
    assert [s.id for s in queue.of("made")] == [first.id, second.id]
    assert [s.id for s in queue.of(other.id)] == [other.id]
    with pytest.raises(UserError, match=r"'mad' is not in this store's queue\. Did you mean 'made'\?"):
        queue.of("mad")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'"format": 2', b'"format": 1', "it has format 1, this s1sweep reads 2"),
        (b'"max_retries"', b'"retries"', "validation error.* for Placement"),
        (b'"type": "TrainStage"', b'"type": "TuneStage"', "TuneStage"),
        (b'"expected"', b'"told"', "expected"),
    ],
)
def test_what_another_version_wrote_is_told_and_stops_nothing(root: Path, old: bytes, new: bytes, why: str) -> None:
    """Neither the commands about the queue nor a service."""
    mine, theirs, queue = submission(), submission(sweep="theirs", now=2e9), Submissions(Store(root))
    queue.add(mine)
    assert old in theirs.encode()
    queue._files.create(f"queue/{theirs.id}/submission.json", theirs.encode().replace(old, new))
    with pytest.raises(UserError, match=rf"{theirs.id}.* another version of s1sweep \(.*{why}.*submit it again"):
        queue.get(theirs.id)
    found = view.gather(Store(root))
    assert [r["id"] for r in found["submissions"]] == [mine.id] and theirs.id in found["unreadable"][0]
    assert [s.id for s in queue.of("made")] == [mine.id]
    with pytest.raises(UserError, match=f"And: submission '{theirs.id}' was written by another version"):
        queue.of("theirs")
    queue.order(mine, "pause", mine.user)
    service = Service(Store(root), mine.placement, InProcessBackend(Capacity(cpus=1)))
    service._poll()
    assert (
        "another version" in json.loads((root / "queue" / theirs.id / "state.json").read_text())["failed"]["submission"]
    )
    assert json.loads((root / "queue" / mine.id / "state.json").read_text())["phase"] == "paused"


def test_frozen_code_outlives_an_edit(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = tmp_path / "mine"
    extra.mkdir()
    (extra / "rule.py").write_text("x = 1\n")
    first = freeze(Store(root), extra)
    assert freeze(Store(root), extra) == first
    (extra / "rule.py").write_text("x = 2\n")
    assert freeze(Store(root), extra) != first
    folder = thaw(Store(root), first)
    assert (folder / "project/rule.py").read_text() == "x = 1\n"
    assert (folder / "s1sweep/api.py").read_bytes() == (Path(__file__).parent.parent / "s1sweep/api.py").read_bytes()
    assert (folder / "s1sweep/launchers/slurm.sh").exists()
