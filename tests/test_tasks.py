"""Tasks: rows of any shape become questions, choices keep one order for ever, and a plan needs no network."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1sweep.decoding.chat import question_text
from s1sweep.errors import UserError
from s1sweep.planning import Plan
from s1sweep.planning.axes import axes_of
from s1sweep.sources.tasks import Question, _shuffled, question_count, questions, questions_digest
from s1sweep.spec import TaskSpec
from tests.helpers import ROOT, compose

TASKS = sorted(p.stem for p in (ROOT / "conf/task").glob("*.yaml") if p.stem not in ("file", "lm_eval"))
HUB = [name for name in TASKS if not name.startswith("tiny")]
GPQA = {
    "Record ID": "rec1", "Question": "Which?", "Correct Answer": "right", "Incorrect Answer 1": "x",
    "Incorrect Answer 2": "y", "Incorrect Answer 3": "z", "Subdomain": "Optics",
}  # fmt: skip


def task(*overrides: str) -> TaskSpec:
    return compose("train=none", *overrides)[0].cell.task


def of(rows: list[dict], path: Path, name: str = "file", **fields: object) -> TaskSpec:
    """A shipped task whose questions are rows of a file, so that its columns are tried without a hub."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ("task.name=mine", "task.grader=math") if name == "file" else ("task.hub=null",)
    made = task(f"task={name}", f"task.path={path}", *given)
    return TaskSpec.model_validate({**made.model_dump(), **fields})


@pytest.mark.parametrize("name", HUB)
def test_a_hub_task_is_planned_without_a_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s1sweep.sources.hub.snapshot", lambda *_: pytest.fail("a plan fetches nothing"))
    config = compose("train=none", f"task={name}")[0]
    plan = Plan()
    plan.add(config.cell, axes_of(config))
    decode = next(s for s in plan.stages.values() if s.kind == "decode")
    spec = config.cell.task
    assert decode.hashed["content"]["task"] == f"{spec.hub}@unpinned/{spec.subset or 'default'}/{spec.split}"
    assert question_count(spec) == spec.size
    assert question_count(spec.model_copy(update={"limit": 7})) == 7


def test_columns_have_any_name_and_shape(tmp_path: Path) -> None:
    rows = [
        {"ID": "2021-I-1", "Year": 2021, "Question": "old", "Answer": "1"},
        {"ID": "2022-I-1", "Year": 2022, "Question": "1+1", "Answer": 2},
        {"ID": "2023-II-1", "Year": "2023", "Question": "70+3", "Answer": "073"},
    ]
    asked = questions(of(rows, tmp_path / "aime.jsonl", "aime_2022_2023"))
    assert [(q.id, q.question, q.answer) for q in asked] == [("2022-I-1", "1+1", "2"), ("2023-II-1", "70+3", "073")]
    asked = questions(of([{"question": "3 eggs", "answer": "He has 3.\n#### 3"}], tmp_path / "gsm.jsonl", "gsm8k"))
    assert asked == [Question(id="1", question="3 eggs", answer="3")]
    (one,) = questions(of([GPQA], tmp_path / "gpqa.jsonl", "gpqa_diamond"))
    assert one.choices["ABCD".index(one.answer)] == "right" and sorted(one.choices) == ["right", "x", "y", "z"]
    assert one.domain == "Optics"


def test_parquet_is_read_as_json_lines_are(tmp_path: Path) -> None:
    from pyarrow import Table, parquet

    rows = [{"id": "a", "question": "1+1", "answer": "2"}, {"id": "b", "question": "2+2", "answer": "4"}]
    parquet.write_table(Table.from_pylist(rows), tmp_path / "mine.parquet")
    lines = of(rows, tmp_path / "mine.jsonl")
    assert questions(lines) == questions(lines.model_copy(update={"path": str(tmp_path / "mine.parquet")}))


def test_the_order_of_choices_never_changes() -> None:
    """Pinned: results are compared across years and machines."""
    made = [Question(id=f"q{i}", question="?", answer="A", choices=("right", "x", "y", "z")) for i in range(8)]
    assert "".join(_shuffled(q, 0, "").answer for q in made) == "BCDBACDC"


@given(st.text(min_size=1), st.integers(0, 9), st.integers(1, 10))
def test_shuffling_keeps_the_choices_and_the_gold(name: str, seed: int, n: int) -> None:
    question = Question(id=name, question="?", answer=f"({'ABCDEFGHIJ'[n - 1]})", choices=tuple(map(str, range(n))))
    shuffled = _shuffled(question, seed, "")
    assert sorted(shuffled.choices, key=int) == list(question.choices)
    assert shuffled.choices["ABCDEFGHIJ".index(shuffled.answer)] == str(n - 1)
    assert shuffled == _shuffled(question, seed, "")


def test_gold_letters_are_spread_evenly() -> None:
    made = [Question(id=f"rec{i}", question="?", answer="A", choices=("right", "x", "y", "z")) for i in range(2000)]
    found = Counter(_shuffled(question, 0, "").answer for question in made)
    assert set(found) == set("ABCD") and min(found.values()) > 430


def test_how_choices_are_asked(tmp_path: Path) -> None:
    spec = of([GPQA], tmp_path / "gpqa.jsonl", "gpqa_diamond")
    question = Question(id="1", question="Is {choices} odd?", answer="B", choices=("yes", "no {letter}"))
    assert question_text(question, spec) == "Is {choices} odd?\n\nA) yes\nB) no {letter}"
    assert question_text(question, task("task=tiny_choice")) == "Is {choices} odd?\n(A) yes\n(B) no {letter}"


def test_the_digest_is_checked(tmp_path: Path) -> None:
    spec = of([{"question": "1+1", "answer": "2"}], tmp_path / "mine.jsonl")
    right = questions_digest(questions(spec))
    assert questions(spec.model_copy(update={"digest": right, "limit": 1}))
    with pytest.raises(UserError, match=f"task.digest='ab', but .* reads as {right}"):
        questions(spec.model_copy(update={"digest": "ab"}))


@pytest.mark.parametrize(
    ("rows", "fields", "words"),
    [
        ([{"problem": "1"}], {"columns": {"question": "text"}}, ["row 1", "no column 'text'", "problem"]),
        ([{"question": "1", "answer": ""}], {}, ["row 1", "answer"]),
        ([{"question": "1"}], {}, ["row 1", "answer", "required"]),
        ([{"id": 1, "question": "1", "answer": 1}] * 2, {}, ["row 2", "repeats id '1'"]),
        ([{"question": "1", "answer": 1}], {"where": {"year": (1,)}}, ["no column 'year' of task.where"]),
        ([{"question": "1", "answer": 1, "year": 2}], {"where": {"year": (1,)}}, ["questions that task.where keeps"]),
        ([{"question": "1", "answer": "C", "choices": ["a", "b"]}], {"choices_seed": 0}, ["'C' is no letter"]),
        ([GPQA], {"columns": {"question": "Question", "choices": ("Correct Answer",)}}, ["task.choices_seed=null"]),
    ],
)  # fmt: skip
def test_a_bad_row_is_named(tmp_path: Path, rows: list[dict], fields: dict, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        questions(of(rows, tmp_path / "mine.jsonl", **fields))
    for word in words:
        assert word in str(error.value)


def test_a_task_of_ones_own_is_one_yaml_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine/task").mkdir(parents=True)
    rows = tmp_path / "riddles.jsonl"
    rows.write_text(json.dumps({"text": "Wetter as it dries?", "options": ["sun", "towel"], "solved": "B"}) + "\n")
    (tmp_path / "mine/task/riddles.yaml").write_text(
        f"defaults:\n  - file\n  - _self_\nname: riddles\npath: {rows}\ngrader: choice\nchoices_seed: 0\n"
        "columns: {question: text, answer: solved, choices: options}\n"
    )
    (one,) = questions(compose(f"--config-dir={tmp_path / 'mine'}", "task=riddles")[0].cell.task)
    assert one.choices["AB".index(one.answer)] == "towel"


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("task.hub=a/b", "two places"),
        ("+task.columns.gold=answer", "columns.gold is not a field of a question"),
        ("+task.columns.answer=[a,b]", "columns.answer must be one column"),
        ("task.choice=x", "{choice}"),
    ],
)
def test_a_mistake_in_a_task_is_named(override: str, word: str) -> None:
    with pytest.raises(UserError, match="task") as error:
        task("task=file", "task.name=mine", "task.path=mine.jsonl", "task.grader=math", override)
    assert word in str(error.value)


# --- drawn questions


CALC = cache(lambda: task("task=tiny_calc"))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 3), st.integers(1, 39), st.integers(40, 80))
def test_draws_are_parts_of_one_random_order(seed: int, cut: int, end: int) -> None:
    whole = CALC()

    def drawn(*part: int) -> list[str]:
        return [q.id for q in questions(whole.model_copy(update={"draw": part, "draw_seed": seed}))]

    assert drawn(0, cut) + drawn(cut, end) == drawn(0, end)
    everything = drawn(0, 80)
    assert sorted(everything) == sorted(q.id for q in questions(whole)) != everything
    other = whole.model_copy(update={"draw": (0, 80), "draw_seed": seed + 1})
    assert everything != [q.id for q in questions(other)]


def test_a_draw_knows_ids_and_not_the_order_of_rows(tmp_path: Path) -> None:
    rows = [{"id": f"q{i}", "question": f"{i}?", "answer": str(i)} for i in range(40)]
    one = of(rows, tmp_path / "a.jsonl", draw=(5, 15))
    other = of(rows[::-1], tmp_path / "b.jsonl", draw=(5, 15))
    assert questions(one) == questions(other) and len(questions(one)) == question_count(one) == 10
    first = of(rows, tmp_path / "a.jsonl", draw=(0, 99), limit=7)  # the limit comes before
    assert {q.id for q in questions(first)} == {f"q{i}" for i in range(7)}


def test_a_draw_counts_without_the_questions_and_leaves_other_ids_alone() -> None:
    aime = task("task=aime24")
    counts = {(0, 10): 10, (10, 25): 15, (25, 40): 5, (30, 40): 0}
    for draw, count in counts.items():
        assert question_count(aime.model_copy(update={"draw": draw})) == count
    plans = [
        compose("train=none", "task=tiny_calc", *more)[0] for more in ([], ["task.draw=[0,8]"], ["task.draw=null"])
    ]
    ids = [Plan().add(config.cell, axes_of(config)).stages["decode"] for config in plans]
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["task.draw=[8,8]"], "holds no question"),
        (["task.draw=[-1,8]"], "greater than or equal to 0"),
        (["task.draw=8"], "task.draw"),
        (["task.draw_seed=1"], "give draw too"),
    ],
)
def test_a_draw_that_can_be_none_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        task("task=tiny_calc", *overrides)


def test_a_draw_beyond_the_task_is_refused() -> None:
    with pytest.raises(UserError, match=r"task.draw=\[80, 90\] holds no question: .* has 80"):
        questions(task("task=tiny_calc", "task.draw=[80,90]"))
