"""Specs of what is asked: a task of held-out questions, or the rows of a pool; how, and what grades the answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from s1sweep.spec.base import Excluded, Location, Name, Neutral, Spec

PLACE = Excluded("hub@revision/subset/split is hashed as the task's content")


class TaskSpec(Spec):
    """Held-out questions with their grader, from a file (`path`), the hub, lm-evaluation-harness (`lm_eval`, the name
    there; `include_path` holds task files of one's own), or, with none of them, the package.

    `columns` says which column holds a question's `id`, `question`, `answer`, `choices` and `domain`; what is not named
    has its own name. A list of columns for `choices` begins with the right one. `where` keeps the rows whose column has
    one of the values; `answer_after` keeps of an answer what follows the last such mark. `choices_seed` shuffles the
    choices of each question, always in the same way. `draw` asks the questions from one place to before another of a
    random order of those that `limit` leaves; the order is by ids and `draw_seed` alone.
    """

    name: Name
    path: Location
    hub: Annotated[str | None, PLACE]
    lm_eval: Annotated[str | None, Excluded("the questions themselves are hashed as the task's content")] = None
    include_path: Location = None
    subset: Annotated[str | None, PLACE]
    split: Annotated[str | None, PLACE]
    revision: Annotated[str | None, PLACE]
    digest: Annotated[str | None, Excluded("checks what was read; the content it stands for is hashed")]
    size: Annotated[int | None, Field(ge=1), Excluded("only used for estimates, where the questions are not here")]
    columns: Annotated[dict[str, str | tuple[str, ...]], Neutral({})]
    where: Annotated[dict[str, tuple[str | int, ...]], Neutral({})]
    answer_after: Annotated[str | None, Field(min_length=1), Neutral(None)]
    choices_seed: Annotated[int | None, Field(ge=0), Neutral(None)]
    choice: Annotated[str, Neutral("({letter}) {choice}")]
    prompt: Annotated[str, Field(min_length=1)]
    grader: Name | None
    limit: Annotated[int, Field(ge=1)] | None
    draw: Annotated[tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]] | None, Neutral(None)] = None
    draw_seed: Annotated[int, Field(ge=0), Neutral(0)] = 0

    @model_validator(mode="after")
    def _prompt_has_question(self) -> TaskSpec:
        if "{question}" not in self.prompt:
            raise ValueError("prompt must contain {question}")
        if "{choice}" not in self.choice:
            raise ValueError("choice must contain {choice}")
        return self

    @model_validator(mode="after")
    def _draw_is_some(self) -> TaskSpec:
        if self.draw is not None and self.draw[0] >= self.draw[1]:
            raise ValueError(f"draw={list(self.draw)} holds no question; give [from, to] with from < to")
        if self.draw is None and self.draw_seed:
            raise ValueError("draw_seed orders what draw takes; give draw too, say draw=[0,100]")
        return self

    @model_validator(mode="after")
    def _one_place(self) -> TaskSpec:
        given = [name for name in ("hub", "path", "lm_eval") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are two places; set one of them to null")
        if self.hub is not None and (self.split is None or (self.size is None and self.limit is None)):
            raise ValueError("a task of the hub needs split, and size (how many questions it has)")
        return self

    @model_validator(mode="after")
    def _columns_are_known(self) -> TaskSpec:
        unknown = sorted(set(self.columns) - {*FIELDS, "choices"})
        if unknown:
            raise ValueError(f"columns.{unknown[0]} is not a field of a question: {', '.join(FIELDS)}, choices")
        lists = [name for name in FIELDS if not isinstance(self.columns.get(name, name), str)]
        if lists:
            raise ValueError(f"columns.{lists[0]} must be one column; only choices may be a list")
        return self


FIELDS = ("id", "question", "answer", "domain")


class RowsSpec(Spec):
    """Rows of the `rows` input as questions: all, those without a trace, or those with a solution to grade by."""

    rows: Literal["all", "untraced", "gradable"]
    prompt: Annotated[str, Field(min_length=1)]
    grader: Name | None
