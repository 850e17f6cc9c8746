"""What of a cell makes a difference to a stage, so that equal work is one stage. Plans nothing."""

from __future__ import annotations

from s1sweep.data import rules
from s1sweep.errors import UserError
from s1sweep.spec import (
    CellSpec,
    CurationSpec,
    CurationStep,
    ExtrapolationSpec,
    ForcedSpec,
    MethodSpec,
    ParallelSpec,
    TrainingFormat,
)
from s1sweep.spec.control import StepConditionalSpec, TokenConditionalSpec

NO_EXTRAPOLATION = ExtrapolationSpec(string="", num_ignore=0, temperature=None, frequency_penalty=0.0)


def curation_before(curation: CurationSpec, rule: rules.Rule) -> list[CurationStep]:
    """The steps of curation whose rows the rule draws from. Raises UserError if its own point is left out."""
    point = rule.draws_from
    steps = {name: getattr(curation, name) for name in type(curation).model_fields}
    if point != "pool" and steps[point] is None:
        raise UserError(
            f"data={rule.name} draws from the rows after the `{point}` step, and curation.{point}=null leaves it "
            f"out. Give a curation with that step, say curation=s1_paper, or a rule that needs none, say data=full."
        )
    names = list(steps)
    wanted = names[: names.index("quality" if point == "pool" else point) + (point != "pool")]
    return [step for name in wanted if (step := steps[name]) is not None]


def parallel_of(given: ParallelSpec) -> ParallelSpec | None:
    """How parallel samples become one answer, without what its rule does not use; None if each counts by itself."""
    if given.rule == "none":
        return None
    return ParallelSpec(
        rule=given.rule,
        n=given.n,
        weight=given.weight if given.rule == "weighted" else "score",
        m=given.m if given.rule == "shortest" else 1,
    )


def training_format(method: MethodSpec) -> TrainingFormat | None:
    """The format of its own that a method is trained in; None is s1's."""
    if isinstance(method, TokenConditionalSpec) and method.trained_on == "own":
        return TrainingFormat(kind=method.kind, prompt=method.prompt, step_mark="", separator="")
    if isinstance(method, StepConditionalSpec) and method.trained_on == "own":
        return TrainingFormat(
            kind=method.kind, prompt=method.prompt, step_mark=method.step_mark, separator=method.separator
        )
    return None


def extrapolation_of(cell: CellSpec, notes: list[str]) -> ExtrapolationSpec:
    """What is left of the extrapolation where parts of it make no difference."""
    given, method = cell.extrapolation, cell.method
    if not isinstance(method, ForcedSpec) or isinstance(method, StepConditionalSpec):
        if given.num_ignore:
            notes.append(f"{method.kind} ignores no ends: extrapolation makes no difference")
        return NO_EXTRAPOLATION
    if method.dialect == "exact_length":
        notes.append("exact_length ignores every end: extrapolation.num_ignore makes no difference")
        return given.model_copy(update={"num_ignore": 0})
    if given.num_ignore == 0:
        if any(given.strings):
            notes.append("nothing is ignored: extrapolation.string makes no difference")
        return NO_EXTRAPOLATION
    return given
