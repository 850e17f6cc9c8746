"""Tasks of lm-evaluation-harness as questions with gold answers. The one file that imports lm_eval, and late.

Taken over are what is asked and what is right: the description, `doc_to_text`, `doc_to_choice` and `doc_to_target` of
the task's documents, without examples. How lm_eval scores (log-likelihoods, filters, its own metrics) is not: answers
are written after thinking, and graded here. Knows no spec.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from s1sweep.errors import UserError, nearest

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
KINDS = ("generate_until", "multiple_choice")


def rows(name: str, folder: str | None) -> Iterator[dict[str, Any]]:
    """The task's documents, each with `id` (its number, from 0, as in lm_eval), `question`, `answer` and `choices`.

    `folder` holds task files of one's own. Raises UserError where lm_eval or the task's data are not here, or where a
    document is no question with one gold answer.
    """
    task = _task(name, folder)
    _refuse_other_kinds(name, task)
    try:
        docs = task.eval_docs
    except Exception as error:  # of as many types as there are ways to load data
        raise _no_data(name, error) from error
    for number, doc in enumerate(docs):
        yield {"id": str(number), **_row(name, number, task, doc)}


@lru_cache(maxsize=4)
def _manager(folder: str | None, defaults: bool) -> Any:
    """lm_eval's index of a folder's tasks, and of its own thousands (`defaults`), which takes seconds to make."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=folder, include_defaults=defaults)


def _task(name: str, folder: str | None) -> Any:
    try:
        manager = _manager(folder, folder is None)
        if name not in manager.all_tasks:
            manager = _manager(folder, True)
    except ImportError as error:
        raise UserError(
            f"task.lm_eval={name!r} needs {error.name}, which is not installed: pip install 's1sweep[lm-eval]'."
        ) from error
    if name not in manager.all_subtasks:
        if name in manager.all_tasks:
            raise UserError(
                f"task.lm_eval={name!r} is a group of tasks. Give its tasks as an axis: -m task=lm_eval task.name=A,B."
            )
        raise UserError(
            f"task.lm_eval={name!r} is no task of lm_eval.{nearest(name, manager.all_subtasks)} "
            "`lm-eval ls tasks` lists them; give task.include_path=FOLDER for task files of your own."
        )
    try:
        return manager.load(name)["tasks"][name]
    except Exception as error:
        raise _no_data(name, error) from error


def _no_data(name: str, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(
        f"task.lm_eval={name!r} could not be loaded ({type(error).__name__}: {reason}). Its data must be here, or be "
        "had from the hub; for a gated repository give HF_TOKEN."
    )


def _refuse_other_kinds(name: str, task: Any) -> None:
    config = task.config
    why = None
    if config.output_type not in KINDS:
        why = f"its output_type is {config.output_type}"
    elif task.multiple_input:
        why = "its questions differ and its answer is the same (multiple inputs)"
    elif getattr(config, "doc_to_image", None) or getattr(config, "doc_to_audio", None):
        why = "it asks about images or audio"
    if why is not None:
        raise UserError(
            f"task.lm_eval={name!r} is not supported: {why}. Tasks of {' and '.join(KINDS)} with one written question "
            "and one gold answer are."
        )


def _row(name: str, number: int, task: Any, doc: Mapping[str, Any]) -> dict[str, Any]:
    text, target = task.doc_to_text(doc), task.doc_to_target(doc)
    if not isinstance(text, str):
        raise _no_question(name, number, f"its question is {text!r}")
    described = task.resolve_field(doc, task.config.description) or ""
    question = f"{described}{text}".strip()
    if task.config.output_type == "generate_until":
        if isinstance(target, list | tuple) and len(target) == 1:
            (target,) = target
        if isinstance(target, list | tuple | dict) or not str(target).strip():
            raise _no_question(name, number, f"its gold answer is {target!r}")
        return {"question": question, "answer": str(target).strip()}
    choices = [str(choice).strip() for choice in task.doc_to_choice(doc)]
    right = choices.index(target.strip()) if isinstance(target, str) and target.strip() in choices else target
    if not isinstance(right, int) or not 0 <= right < len(choices) <= len(LETTERS):
        raise _no_question(name, number, f"its gold answer is {target!r} of {len(choices)} choices")
    if choices == list(LETTERS[: len(choices)]):
        return {"question": question, "answer": LETTERS[right]}  # the question lists what the letters stand for
    return {"question": question, "choices": choices, "answer": LETTERS[right]}


def _no_question(name: str, number: int, why: str) -> UserError:
    return UserError(
        f"task.lm_eval={name!r} is not supported: document {number} is no question with one gold answer ({why})."
    )
