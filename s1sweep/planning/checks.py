"""What can be seen to be wrong with a cell without running it, each mistake named by its field. Plans nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from s1sweep.answers.graders import GRADERS
from s1sweep.decoding.methods import METHODS
from s1sweep.errors import UserError, invalid
from s1sweep.sources import model_digest
from s1sweep.sources.tasks import question_count, questions
from s1sweep.spec import (
    AskSpec,
    AttemptsSpec,
    CellSpec,
    CurationStep,
    MethodSpec,
    ModelSpec,
    SamplingSpec,
    TaskSpec,
)

# Methods that draw several times from one prefix.
SAMPLED = ("rejection", "rebase")


# Methods that end the thinking themselves, or look for its end.
MARKED = ("step_conditional", "rejection", "no_thinking", "rebase")


def check(cell: CellSpec) -> None:
    """Raise UserError, naming field, value and what to do, if a cell cannot work. Reads no questions."""
    if cell.task.grader is None:
        raise UserError(f"task.grader=null: task {cell.task.name!r} has no grader. Give one of: {', '.join(GRADERS)}.")
    if cell.task.grader not in GRADERS:
        raise invalid("task.grader", cell.task.grader, GRADERS)
    _check_parallel(cell)
    _check_decoding(cell.method, cell.model, cell.sampling)


def check_questions(task: TaskSpec) -> None:
    """Read a task's questions, where they are here. Raises UserError if they are none, or do not go with the grader."""
    question_count(task)  # those of the hub are read before a run
    if task.lm_eval is not None and task.grader != "choice" and all(q.choices for q in questions(task)):
        raise UserError(
            f"task.grader={task.grader!r} is not valid for task.lm_eval={task.lm_eval!r}, whose answers are "
            "letters of choices. Give task.grader=choice."
        )


def check_ask(step: CurationStep, who: str, ask: AskSpec) -> None:
    """Raise UserError, naming the field, if a model of a curation step cannot be asked like that."""
    if isinstance(step, AttemptsSpec) and step.grader not in GRADERS:
        raise invalid("curation.difficulty.grader", step.grader, GRADERS)
    with _fields_of(f"curation.{step.kind}.{who}"):
        if ask.method.kind == "rebase":
            raise UserError("method=rebase gives several answers, and one a row is read. Give method=budget_forcing.")
        if step.kind == "traces" and not ask.model.delimiters.think_end:
            raise UserError(
                f"model.delimiters.think_end of {ask.model.name!r} is empty: its thinking could not be told from its "
                "answer. Give a model that marks the end of thinking."
            )
        _check_decoding(ask.method, ask.model, ask.sampling)
        model_digest(ask.model)


@contextmanager
def _fields_of(prefix: str) -> Iterator[None]:
    """Messages begin with a field's name; here it is one of `prefix`."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{prefix}.{error}") from error


def _check_decoding(method: MethodSpec, model: ModelSpec, sampling: SamplingSpec) -> None:
    """What must fit wherever a model decodes."""
    kind, marks = method.kind, model.delimiters
    if kind not in METHODS:
        raise invalid("method.kind", kind, METHODS)
    caps = {
        name: value
        for name in ("max_thinking_tokens", "max_answer_tokens")
        if isinstance(value := getattr(method, name, None), int)
    }
    if sum(caps.values()) >= model.max_model_len:
        said = " and ".join(f"method.{name}={value}" for name, value in caps.items())
        raise UserError(
            f"{said} leave no room for the prompt in model.max_model_len={model.max_model_len}. "
            "Lower one of them, or raise model.max_model_len if the model allows it."
        )
    if sampling.temperature == 0 and kind in SAMPLED:
        raise UserError(
            f"method={kind} needs sampling.temperature > 0: greedy draws are all alike. Give sampling=sampled."
        )
    if kind in MARKED and not marks.think_end:
        raise UserError(
            f"method={kind} needs a model that marks the end of thinking; model.delimiters.think_end of "
            f"{model.name!r} is empty. Give another model, or method=budget_forcing."
        )
    if kind == "vllm_native" and not (marks.think_start and marks.think_end):
        raise UserError(
            "method=vllm_native needs model.delimiters.think_start and think_end: vLLM counts the tokens between them."
        )


def _check_parallel(cell: CellSpec) -> None:
    kind, rule = cell.method.kind, cell.parallel.rule
    if cell.sampling.temperature == 0 and rule != "none" and cell.parallel.n > 1:
        raise UserError(
            f"parallel.rule={rule} with parallel.n={cell.parallel.n} needs sampling.temperature > 0: greedy draws are "
            "all alike. Give sampling=sampled."
        )
    if kind == "rebase" and rule in ("none", "shortest"):
        raise UserError(
            f"parallel.rule={rule} is not valid for method=rebase, which gives several answers. "
            "Give parallel=majority, weighted or best (with parallel.n=1 for one tree)."
        )
