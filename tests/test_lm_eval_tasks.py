"""Tasks of lm-evaluation-harness, loaded by the package itself from task files and data of our own: no network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from s1sweep.decoding.chat import question_text
from s1sweep.errors import UserError
from s1sweep.planning import Plan
from s1sweep.planning.axes import axes_of
from s1sweep.sources.tasks import questions, task_content
from s1sweep.spec import TaskSpec
from tests.helpers import cli, compose

ROWS = [
    {"q": "calc 7 a+5", "a": "12, so 2\n#### 2", "options": ["x", "right", "y"], "gold": 1, "many": ["2", "two"]},
    {"q": "calc 3 a+1", "a": "#### 4", "options": ["right", "x", "y"], "gold": 0, "many": ["4", "four"]},
]
GENERATE = {
    "task": "my_sums", "output_type": "generate_until", "doc_to_text": "Q: {{q}}\nA:", "doc_to_target": "{{a}}",
    "description": "Work it out.\n", "num_fewshot": 0, "generation_kwargs": {"until": ["\n"]},
    "metric_list": [{"metric": "exact_match"}],
}  # fmt: skip
CHOICE = {
    "task": "my_choice", "output_type": "multiple_choice", "doc_to_text": "{{q}}", "doc_to_target": "gold",
    "doc_to_choice": "options", "metric_list": [{"metric": "acc"}],
}  # fmt: skip
LETTERS = CHOICE | {
    "task": "my_letters", "doc_to_text": "{{q}}\nA. {{options[0]}}\nB. {{options[1]}}", "doc_to_choice": ["A", "B"],
}  # fmt: skip
OTHERS = {
    "loglikelihood_rolling": GENERATE | {"task": "my_other", "output_type": "loglikelihood_rolling"},
    "its gold answer is": GENERATE | {"task": "my_other", "doc_to_target": "many"},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Task files over two rows. JSON is YAML."""
    pytest.importorskip("lm_eval", reason="pip install 's1sweep[lm-eval]'")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hf/datasets"))
    made = tmp_path / "mine"
    made.mkdir()
    (made / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    for task in (GENERATE, CHOICE, LETTERS):
        write(made, task)
    return made


def write(folder: Path, task: dict[str, Any]) -> None:
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}}}
    (folder / f"{task['task']}.yaml").write_text(json.dumps({**data, "test_split": "test", **task}))


def overrides(folder: Path, name: str, grader: str = "math", *more: str) -> list[str]:
    given = (f"task.name={name}", f"task.include_path={folder}", f"task.grader={grader}")
    return ["train=none", "task=lm_eval", *given, *more]


def task(folder: Path, name: str, grader: str = "math", *more: str) -> TaskSpec:
    return compose(*overrides(folder, name, grader, *more))[0].cell.task


def test_questions_and_gold_answers_are_the_tasks(folder: Path) -> None:
    asked = questions(task(folder, "my_sums", "math", "task.answer_after='####'"))
    assert [(q.id, q.question, q.answer) for q in asked] == [
        ("0", "Work it out.\nQ: calc 7 a+5\nA:", "2"),
        ("1", "Work it out.\nQ: calc 3 a+1\nA:", "4"),
    ]
    chosen = questions(task(folder, "my_choice", "choice"))
    assert [(q.choices[ord(q.answer) - 65], len(q.choices)) for q in chosen] == [("right", 3), ("right", 3)]
    assert [q.answer for q in chosen] == ["B", "A"]
    lettered = questions(task(folder, "my_letters", "choice"))
    assert [(q.answer, q.choices) for q in lettered] == [("B", ()), ("A", ())]
    text = question_text(lettered[0], task(folder, "my_letters", "choice"))
    assert text.count("right") == 1, "choices that the question lists are not listed again"


def test_identity_is_what_is_asked(folder: Path, tmp_path: Path) -> None:
    def stages() -> dict[str, str]:
        config = compose(*overrides(folder, "my_sums"))[0]
        return dict(Plan().add(config.cell, axes_of(config)).stages)

    before, content = stages(), task_content(task(folder, "my_sums"))
    assert content == task_content(task(folder, "my_sums", "math", "task.limit=1")), "a limit is the spec's"
    moved = tmp_path / "moved"
    folder.rename(moved)
    for file in moved.glob("*.yaml"):
        file.write_text(file.read_text().replace(str(folder), str(moved)))
    assert task_content(task(moved, "my_sums")) == content, "a place is no content"
    (moved / "rows.jsonl").write_text(json.dumps(ROWS[0] | {"a": "#### 3"}) + "\n")
    again = moved.rename(tmp_path / "changed")
    for file in again.glob("*.yaml"):
        file.write_text(file.read_text().replace(str(moved), str(again)))
    assert task_content(task(again, "my_sums")) != content
    again.rename(folder)
    assert set(before) == {"decode", "grade"}


def test_what_is_no_question_with_one_gold_answer_is_refused(folder: Path) -> None:
    for said, other in OTHERS.items():
        mine = folder.parent / said.replace(" ", "_")
        mine.mkdir()
        (mine / "rows.jsonl").write_text((folder / "rows.jsonl").read_text())
        write(mine, other)
        with pytest.raises(UserError, match=f"not supported.*{said}"):
            questions(task(mine, "my_other"))
    with pytest.raises(UserError, match=r"task.grader='math' is not valid.*task.grader=choice"):
        config = compose(*overrides(folder, "my_choice"))[0]
        Plan().add(config.cell, axes_of(config))


def test_names_that_are_no_task(folder: Path) -> None:
    (folder / "group.yaml").write_text(json.dumps({"group": "my_group", "task": ["my_sums", "my_choice"]}))
    with pytest.raises(UserError, match="Did you mean 'my_sums'"):
        questions(task(folder, "my_sum"))
    with pytest.raises(UserError, match="is a group of tasks"):
        questions(task(folder, "my_group"))


def test_data_that_is_gone_is_said(folder: Path) -> None:
    (folder / "rows.jsonl").unlink()
    with pytest.raises(UserError, match=r"task.lm_eval='my_sums' could not be loaded"):
        questions(task(folder, "my_sums"))


@pytest.mark.slow
def test_a_sweep_over_tasks_of_lm_eval(folder: Path, root: Path) -> None:
    common = ["train=none", "task=lm_eval", "task.name=my_choice,my_letters", "task.grader=choice"]
    command = [*common, f"task.include_path={folder}", "placement=inprocess", "tracking=none", "name=mine"]
    done = cli("run", "-m", *command, "method.max_thinking_tokens=8", root=root)
    assert done.returncode == 0, done.stderr
    rows = json.loads(cli("results", "--json", root=root).stdout)
    assert [(row["n"], row["axes"]["task.name"]) for row in rows] == [(2, "my_choice"), (2, "my_letters")]


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(UserError, match=r"task.lm_eval='gsm8k' needs lm_eval.*pip install 's1sweep\[lm-eval\]'"):
        questions(task(tmp_path, "gsm8k"))


def test_one_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="path and lm_eval are two places"):
        compose(*overrides(tmp_path, "gsm8k"), "task.path=x.jsonl")
