"""Held-out questions of a task, from a file, the hub or lm_eval, in one form: columns mapped, choices in fixed order.

Knows specs and rows; not how questions are asked or graded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s1sweep import testbed
from s1sweep.answers.graders import gold
from s1sweep.errors import UserError, invalid
from s1sweep.identity import digest, file_sha256
from s1sweep.sources import hub, lm_eval_tasks
from s1sweep.sources.raw import read_lines
from s1sweep.spec import RowsSpec, TaskSpec
from s1sweep.spec.task import FIELDS
from s1sweep.stages.rows import ROWS

LETTERS = lm_eval_tasks.LETTERS


class Question(BaseModel):
    """One held-out question. `answer` is the gold answer, a letter where there are `choices`."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    choices: tuple[str, ...] = Field(default=(), max_length=len(LETTERS))
    domain: str | None = None


def task_file(task: TaskSpec) -> Path:
    """The file of a task that is not on the hub. Raises UserError if there is none."""
    if task.path is not None:
        found = Path(task.path).expanduser().absolute()
        if not found.is_file():
            raise UserError(f"task.path={task.path!r} is not a file. Give an existing JSONL or parquet file.")
        return found
    if task.name not in testbed.TASKS:
        raise invalid("task.name", task.name, testbed.TASKS, "Or give your own questions: task.path=FILE.jsonl.")
    return testbed.task_path(task.name)


def task_content(task: TaskSpec) -> str:
    """What stands for the questions in identities: a file's sha256, a pinned place on the hub, or, for lm_eval, which
    pins nothing, the questions themselves. Fetches nothing but these.
    """
    if task.lm_eval is not None:
        return questions_digest(_questions(_whole(task), ""))
    if task.hub is None:
        return file_sha256(task_file(task))
    return hub.content(task.hub, task.revision, task.subset, task.split)


def questions(task: TaskSpec) -> list[Question]:
    """The task's questions in the order of its rows, cut to `task.limit`; with `task.draw` those, in the drawn order.

    Raises UserError on a malformed row, naming it, and where a hub task is not here and cannot be fetched.
    """
    content = "" if task.lm_eval is not None else task_content(task)
    found = list(_questions(_whole(task), content))[: task.limit]
    if task.draw is None:
        return found
    drawn = sorted(found, key=lambda question: _rank(question, task.draw_seed))[slice(*task.draw)]
    if not drawn:
        raise UserError(
            f"task.draw={list(task.draw)} holds no question: {_place(task)} has {len(found)}. Give a smaller task.draw."
        )
    return drawn


def _rank(question: Question, seed: int) -> bytes:
    return hashlib.sha256(f"draw/{seed}/{question.id}".encode()).digest()


def _whole(task: TaskSpec) -> str:
    """What stands for all of a task's questions."""
    part = {"limit": None, "draw": None, "draw_seed": 0, "grader": None}
    return task.model_copy(update=part).model_dump_json()


def question_count(task: TaskSpec) -> int:
    """How many questions are asked; of a hub task what its spec says, so that a plan needs no network."""
    if task.hub is None:
        return len(questions(task))
    whole = min(n for n in (task.size, task.limit) if n is not None)
    return whole if task.draw is None else len(range(whole)[slice(*task.draw)])


def questions_of_stage(task: TaskSpec | RowsSpec, inputs: Mapping[str, Path]) -> list[Question]:
    """What a stage asks: the task's questions, or those of the `rows` input, where `answer` is empty without a gold
    answer.
    """
    if isinstance(task, TaskSpec):
        return questions(task)
    found = []
    with (inputs["rows"] / ROWS).open("rb") as f:
        for row in map(json.loads, f):
            answer = gold(row["solution"] or "")
            if (task.rows == "untraced" and row["thinking"].strip()) or (task.rows == "gradable" and not answer):
                continue
            found.append(Question.model_construct(id=row["id"], question=row["question"], answer=answer or ""))
    return found


def questions_digest(asked: Iterable[Question]) -> str:
    """sha256 over all that a set of questions says, in order."""
    return digest([question.model_dump(mode="json") for question in asked])


@lru_cache(maxsize=64)
def _questions(spec: str, content: str) -> tuple[Question, ...]:
    task = TaskSpec.model_validate_json(spec)
    where = _place(task)
    found: dict[str, Question] = {}
    for number, row in _rows(task):
        if not _kept(row, task, f"{where}: row {number}"):
            continue
        question = _question(row, number, task, where)
        if question.id in found:
            raise UserError(f"{where}: row {number} repeats id {question.id!r}. Ids must be unique.")
        found[question.id] = question
    if not found:
        raise UserError(f"{where} holds no questions{' that task.where keeps' if task.where else ''}.")
    asked = tuple(found.values())
    if task.digest not in (None, questions_digest(asked)):
        raise UserError(
            f"task.digest={task.digest!r}, but {where} reads as {questions_digest(asked)}: other rows, or read "
            "otherwise. Give the right task.revision and task.columns, or task.digest=null to take it as it is."
        )
    return asked


def _place(task: TaskSpec) -> str:
    """The field that says where the questions are, for messages."""
    for name in ("hub", "lm_eval"):
        if (given := getattr(task, name)) is not None:
            return f"task.{name}={given!r}"
    return f"task.path={str(task_file(task))!r}"


def _rows(task: TaskSpec) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Rows with their numbers, from 1."""
    if task.hub is not None:
        assert task.split is not None, "the spec refuses a hub task without a split"
        yield from enumerate(hub.dataset_rows(task.hub, task.revision, task.subset, task.split), 1)
        return
    if task.lm_eval is not None:
        yield from enumerate(lm_eval_tasks.rows(task.lm_eval, task.include_path), 1)
        return
    path = task_file(task)
    if path.suffix == ".parquet":
        import pyarrow.parquet as parquet

        yield from enumerate(parquet.read_table(path).to_pylist(), 1)
        return
    for number, line in read_lines(path, "task.path"):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"task.path={str(path)!r}: row {number} is malformed: {error}.") from error
        if not isinstance(row, dict):
            raise UserError(f"task.path={str(path)!r}: row {number} is malformed: not a JSON object.")
        yield number, row


def _kept(row: Mapping[str, Any], task: TaskSpec, where: str) -> bool:
    for column, values in task.where.items():
        if column not in row:
            raise UserError(f"{where} has no column {column!r} of task.where. It has: {', '.join(row)}.")
        if str(row[column]) not in map(str, values):
            return False
    return True


def _question(row: Mapping[str, Any], number: int, task: TaskSpec, where: str) -> Question:
    """A row as a question. Raises UserError naming the row and what is wrong with it."""
    columns = task.columns
    listed = columns.get("choices", "choices")
    wanted = [*columns.values()] if isinstance(listed, str) else [*listed, *(columns.get(name) for name in FIELDS)]
    missing = [column for column in wanted if isinstance(column, str) and column not in row]
    if missing:
        raise UserError(
            f"{where}: row {number} has no column {missing[0]!r} of task.columns. It has: {', '.join(row)}."
        )
    fields: dict[str, Any] = {name: row[c] for name in FIELDS if (c := str(columns.get(name, name))) in row}
    fields.setdefault("id", str(number))
    if not isinstance(listed, str):  # the first is the right one
        fields |= {"choices": [row[column] for column in listed], "answer": "A"}
    elif row.get(listed) is not None:
        fields["choices"] = row[listed]
    if task.answer_after is not None and isinstance(fields.get("answer"), str):
        fields["answer"] = fields["answer"].rpartition(task.answer_after)[2].strip()
    try:
        question = Question.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the row"
        raise UserError(f"{where}: row {number} is malformed: {field}: {first['msg']}.") from error
    if not question.choices:
        return question
    if task.choices_seed is None:
        if not isinstance(listed, str):
            raise UserError("task.choices_seed=null would make A the right answer of every question. Give a number.")
        return question
    return _shuffled(question, task.choices_seed, f"{where}: row {number}")


def _shuffled(question: Question, seed: int, where: str) -> Question:
    """The choices in an order that depends on the seed and the question's id alone; the answer's letter follows."""

    def place(i: int) -> bytes:
        return hashlib.sha256(f"choices/{seed}/{question.id}/{i}".encode()).digest()

    right = LETTERS.find(question.answer.strip("(). ").upper() or "?")
    if not 0 <= right < len(question.choices):
        raise UserError(
            f"{where} is malformed: answer {question.answer!r} is no letter of its {len(question.choices)} choices."
        )
    order = sorted(range(len(question.choices)), key=place)
    choices = tuple(question.choices[i] for i in order)
    return question.model_copy(update={"choices": choices, "answer": LETTERS[order.index(right)]})
