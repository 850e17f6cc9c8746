"""Specs of what is asked: a task of held-out questions, or the rows of a pool; how, and what grades the answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from s1sweep.spec.base import Location, Name, Spec


class TaskSpec(Spec):
    """A set of held-out questions with their grader. `path: null` is a packaged task of that name."""

    name: Name
    path: Location
    prompt: Annotated[str, Field(min_length=1)]
    grader: Name | None
    limit: Annotated[int, Field(ge=1)] | None

    @model_validator(mode="after")
    def _prompt_has_question(self) -> TaskSpec:
        if "{question}" not in self.prompt:
            raise ValueError("prompt must contain {question}")
        return self


class RowsSpec(Spec):
    """Rows of the `rows` input as questions: all, those without a trace, or those with a solution to grade by."""

    rows: Literal["all", "untraced", "gradable"]
    prompt: Annotated[str, Field(min_length=1)]
    grader: Name | None
