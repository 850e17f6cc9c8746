"""Parallel samples: which answer wins under each rule, who shares a tie, and what the grade stage writes of it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1sweep.answers.graders import GRADERS
from s1sweep.grading import grade
from s1sweep.grading.parallel import VoteOutcome, Voter, decide
from s1sweep.sources.tasks import questions
from s1sweep.spec import GradeStage, ParallelSpec
from tests.helpers import compose

MATH = GRADERS["math"].equal


def rule(name: str, n: int = 2, weight: str = "score", m: int = 1) -> ParallelSpec:
    return ParallelSpec.model_validate({"rule": name, "n": n, "weight": weight, "m": m})


def voters(*given: tuple[str | None, int] | tuple[str | None, int, float]) -> list[Voter]:
    return [Voter(one[0], one[1], one[2] if len(one) > 2 else None) for one in given]


def same(a: str, b: str) -> bool:
    return a == b


def answers(found: VoteOutcome, of: Sequence[Voter]) -> set[str | None]:
    return {of[i].answer for i in found.winners}


def test_majority() -> None:
    found = decide(voters(("1", 9), ("2", 1), ("1", 9)), rule("majority"), same)
    assert (found.winners, found.votes) == ((0,), (("1", 2.0), ("2", 1.0)))


def test_all_of_a_tie_win() -> None:
    found = decide(voters(("3", 1), ("1", 9), ("2", 1), ("1", 9), ("2", 1)), rule("majority"), same)
    assert found.winners == (1, 2)


def test_scores_weigh_votes() -> None:
    given = voters(("1", 1, 0.3), ("1", 1, 0.3), ("2", 1, 0.7))
    found = decide(given, rule("weighted"), same)
    assert (found.winners, found.votes) == ((2,), (("2", 0.7), ("1", 0.6)))


def test_sums_that_differ_by_rounding_alone_are_a_tie() -> None:
    given = voters(("1", 1, 0.1), ("1", 1, 0.2), ("2", 1, 0.3))
    assert decide(given, rule("weighted"), same).winners == (0, 2)


def test_length_weighs_votes() -> None:
    """votes / ln(mean tokens): two long ones lose against one that is short enough."""
    short = decide(voters(("1", 10_000), ("1", 10_000), ("2", 50)), rule("weighted", weight="length"), same)
    assert short.winners == (2,)
    assert dict(short.votes) == {"2": round(1 / math.log(50), 6), "1": round(2 / math.log(10_000), 6)}
    not_so_short = decide(voters(("1", 10_000), ("1", 10_000), ("2", 200)), rule("weighted", weight="length"), same)
    assert not_so_short.winners == (0,)


def test_very_short_thinking_has_a_finite_weight() -> None:
    found = decide(voters(("1", 0), ("2", 1), ("3", 2)), rule("weighted", weight="length"), same)
    assert [weight for _, weight in found.votes] == [1.0, 1.0, 1.0]


def test_the_shortest_vote() -> None:
    given = voters(("1", 90), ("1", 80), ("2", 10), ("1", 70), ("2", 20))
    assert answers(decide(given, rule("shortest", m=3), same), given) == {"2"}
    assert answers(decide(given, rule("shortest", m=5), same), given) == {"1"}
    assert answers(decide(given, rule("shortest", m=99), same), given) == {"1"}


def test_a_tie_for_the_last_place_lets_all_of_it_vote() -> None:
    given = voters(("1", 10), ("2", 20), ("2", 20), ("3", 30))
    assert answers(decide(given, rule("shortest", m=2), same), given) == {"2"}
    assert answers(decide(given, rule("shortest", m=1), same), given) == {"1"}


def test_who_has_no_answer_takes_no_place_among_the_shortest() -> None:
    given = voters((None, 1), (None, 2), ("1", 50), ("2", 60))
    assert decide(given, rule("shortest", m=1), same).winners == (2,)


def test_the_best_score_wins() -> None:
    given = voters(("1", 1, 0.2), ("1", 1, 0.3), ("2", 1, 0.9), (None, 1, 1.0))
    assert decide(given, rule("best"), same).winners == (2,)
    tied = voters(("1", 1, 0.9), ("2", 1, 0.9), ("3", 1, 0.1))
    assert decide(tied, rule("best"), same).winners == (0, 1)
    nothing = voters(("1", 1, 0.0), ("2", 1, 0.0))
    assert decide(nothing, rule("best"), same).winners == (0, 1)


@pytest.mark.parametrize("name", ["majority", "weighted", "shortest", "best"])
def test_who_has_no_answer_never_wins(name: str) -> None:
    few = voters((None, 1, 1.0), (None, 1, 1.0), ("1", 99, 0.1))
    assert decide(few, rule(name), same).winners == (2,)
    none = decide(voters((None, 1, 1.0)), rule(name), same)
    assert (none.winners, none.votes) == ((), ())


def test_equal_answers_are_one_whatever_their_form() -> None:
    given = voters(("2", 1), ("1/2", 1), ("0.5", 1), ("2", 1), ("\\frac{1}{2}", 1))
    found = decide(given, rule("majority"), MATH)
    assert (found.winners, found.votes) == ((1,), (("1/2", 3.0), ("2", 2.0)))


VOTERS = st.lists(
    st.builds(
        Voter,
        st.sampled_from([None, "1", "01", "2", "3"]),
        st.integers(0, 12),
        st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.7]),
    ),
    min_size=1,
    max_size=9,
)
RULES = st.sampled_from(
    [rule("majority"), rule("weighted"), rule("weighted", weight="length"), rule("best")]
    + [rule("shortest", m=m) for m in (1, 2, 4)]
)


@given(given_=VOTERS, how=RULES, data=st.data())
def test_the_order_of_voters_decides_nothing(given_: list[Voter], how: ParallelSpec, data: st.DataObject) -> None:
    def number(a: str, b: str) -> bool:
        return int(a) == int(b)

    def outcome(of: list[Voter]) -> tuple[list[int], dict[int, float]]:
        """Answers that win, each as often as it shares in the credit, and the weight of each."""
        found = decide(of, how, number)
        weights: dict[int, float] = {}
        for answer, weight in found.votes:
            weights[int(answer)] = max(weight, weights.get(int(answer), 0.0))
        return sorted(int(of[i].answer or "") for i in found.winners), weights

    assert outcome(data.draw(st.permutations(given_))) == outcome(given_)
    found = decide(given_, how, number)
    assert bool(found.winners) == any(voter.answer for voter in given_)
    weights = [weight for _, weight in found.votes]
    assert weights == sorted(weights, reverse=True)


# ---- the grade stage

CELL = compose("train=none", "task=tiny_calc", "task.limit=3")[0].cell
GOLD = {q.id: q.answer for q in questions(CELL.task)}


def readout(question: str, sample: int, answer: str, **changes: Any) -> dict[str, Any]:
    row = {
        "question_id": question,
        "sample": sample,
        "ended": "natural",
        "ignored": 1,
        "tries": 1,
        "loop": None,
        "score": None,
        "thinking_ids": [1] * 10,
        "thinking": [["a b", False]],
        "stated": answer and f"Answer: {answer}",
        "probes": [],
        **{name: 0 for name in grade.TOKENS},
    }
    return {**row, **changes}


def graded(tmp_path: Path, rows: list[dict[str, Any]], parallel: ParallelSpec | None) -> tuple[list[dict], dict]:
    (tmp_path / "readouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = grade.run(GradeStage(task=CELL.task, parallel=parallel), {"decode": tmp_path}, tmp_path)
    return [json.loads(line) for line in (tmp_path / grade.GRADES).read_text().splitlines()], summary


def wrong(question: str) -> str:
    return str(int(GOLD[question]) + 1)


def test_grades_of_parallel_samples(tmp_path: Path) -> None:
    a, b, c = GOLD
    rows = [
        readout(a, 0, GOLD[a], thinking_tokens=10, answer_tokens=2, prefilled_tokens=7, injected_tokens=1),
        readout(a, 1, wrong(a), thinking_tokens=20, verifier_tokens=3, discarded_tokens=4, ignored=3),
        readout(b, 0, wrong(b), tries=3),
        readout(b, 1, GOLD[b], scored_tokens=5, probe_tokens=6, loop={"period": 1, "tokens": 24}),
        readout(c, 0, "", ended="unmet", tries=5),
        readout(c, 1, GOLD[c]),
        readout(c, 2, "", ended="unmet", tries=7),
        readout(c, 3, "", ended="unmet", tries=7),
    ]
    grades, summary = graded(tmp_path, rows, rule("majority"))
    assert [(g["question_id"], g["sample"], g["readout"], g["verdict"], g["credit"]) for g in grades] == [
        (a, 0, 0, "tied", 0.5),
        (b, 0, 2, "tied", 0.5),
        (c, 0, 5, "correct", 1.0),  # the line of the one that has an answer
        (c, 1, 6, "unmet", 0.0),
    ]
    assert grades[0]["votes"] == [[GOLD[a], 1.0], [wrong(a), 1.0]] and grades[3]["votes"] == []
    first = {"thinking": 30, "answer": 2, "verifier": 3, "discarded": 4, "prefilled": 7, "injected": 1, "probe": 0}
    assert {name: grades[0][f"{name}_tokens"] for name in first} == first
    # What was injected is thinking already, and prompts are not decoded.
    assert grades[0]["total_tokens"] == 30 + 2 + 3 + 4
    assert grades[1]["total_tokens"] == 5 + 6
    assert (summary["questions"], summary["answers"], summary["readouts"]) == (3, 4, 8)
    assert summary["accuracy"] == (0.5 + 0.5 + 1 + 0) / 4
    assert {k: n for k, n in summary["verdicts"].items() if n} == {"correct": 1, "tied": 2, "unmet": 1}
    assert summary["endings"] == {"natural": 5, "unmet": 3}
    assert summary["mean_thinking_tokens"] == 30 / 4 and summary["mean_total_tokens"] == (39 + 11) / 4
    assert (summary["mean_ignored"], summary["mean_tries"], summary["loop_share"]) == (10 / 8, 26 / 8, 1 / 8)


def test_the_winner_stands_for_the_answer(tmp_path: Path) -> None:
    a = next(iter(GOLD))
    rows = [
        readout(a, 0, wrong(a), score=0.1),
        readout(a, 1, GOLD[a], score=0.8, ended="forced", ignored=0),
        readout(a, 2, GOLD[a], score=0.2),
    ]
    (one,), _ = graded(tmp_path, rows, rule("best", n=3))
    assert (one["readout"], one["verdict"], one["ended"], one["ignored"]) == (1, "correct", "forced", 0)
    assert (one["extracted"], one["votes"]) == (GOLD[a], [[GOLD[a], 0.8], [GOLD[a], 0.2], [wrong(a), 0.1]])
    (lost,), _ = graded(tmp_path, rows, rule("majority", n=3))
    assert (lost["readout"], lost["verdict"]) == (1, "correct")
    singles, _ = graded(tmp_path, rows, None)
    assert [(g["sample"], g["readout"], g["credit"], g["votes"]) for g in singles] == [
        (0, 0, 0.0, None),
        (1, 1, 1.0, None),
        (2, 2, 1.0, None),
    ]


def test_probes_are_judged_like_answers(tmp_path: Path) -> None:
    a = next(iter(GOLD))
    probes = [
        {"kind": "cut", "at": 2, "stated": f"Answer: {wrong(a)}", "tokens": 2},
        {"kind": "end", "at": 9, "stated": "", "tokens": 0},
        {"kind": "end", "at": 9, "stated": f"Answer: {GOLD[a]}", "tokens": 2},
    ]
    (one,), _ = graded(tmp_path, [readout(a, 0, GOLD[a], probes=probes)], None)
    assert [(p["kind"], p["at"], p["verdict"]) for p in one["probes"]] == [
        ("cut", 2, "wrong"),
        ("end", 9, "no_answer"),
        ("end", 9, "correct"),
    ]
