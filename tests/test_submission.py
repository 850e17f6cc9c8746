"""A submission comes back from the store as it went in; orders hold by time; code that is frozen stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from s1sweep.errors import UserError
from s1sweep.planning import Plan
from s1sweep.queue.code import freeze, thaw
from s1sweep.queue.submission import State, Submission, Submissions, new_id
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


def test_another_format_is_refused() -> None:
    data = submission().encode().replace(b'"format": 1', b'"format": 2')
    with pytest.raises(UserError, match="has format 2, this s1sweep reads 1"):
        Submission.decode(data)


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
