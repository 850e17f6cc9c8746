"""The claims of a sweep, tested: one finding per contrast and point, p-values corrected over the whole family.

Knows studies and statistics; not how findings are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Literal

import numpy as np

from s1sweep.errors import UserError
from s1sweep.spec.claim import Claim, Metric, Value

from .arms import Arm, Lacking, agreeing, arm_of, curves_of, matching
from .limits import limits
from .results import CellResult
from .study import Study

PERCENT = 100
SERIES = ("control", "scaling", "performance")


@dataclass(frozen=True)
class Finding:
    """`metric` at `contrast` less at `baseline`, at `points`. Accuracy in points of percent, tokens in tokens.

    `level`: `rules` where both arms have several runs, and runs were resampled too; else `checkpoints`. `holm` and `bh`
    are p over all findings of the sweep. `why`: the reason there is no number.
    """

    label: str
    where: str
    metric: Metric
    contrast: Mapping[str, Value]
    baseline: Mapping[str, Value]
    points: Mapping[str, Value]
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    holm: float | None = None
    bh: float | None = None
    n: str = ""
    level: Literal["rules", "checkpoints"] = "checkpoints"
    test: str = ""
    why: str | None = None


def findings(study: Study) -> tuple[Finding, ...]:
    """All of them, in the order of declaration; one that lacks cells has its reason.

    The family is the sweep's: it is the same for a study narrowed by `where`, and a finding that has no number yet
    counts as one with p = 1. So does one that leaves open which cells it speaks of; its reason names the axis.
    """
    return _findings(study.whole)


@lru_cache(maxsize=4)
def _findings(study: Study) -> tuple[Finding, ...]:
    from .stats import benjamini_hochberg, holm

    declared = [finding for claim in study.claims for finding in _expanded(claim)]
    if not declared:
        return ()
    sides = [_sides(study, finding) for finding in declared]
    found = [_tested(study, finding, side) for finding, side in zip(declared, sides, strict=True)]
    ps = [1.0 if finding.p is None else finding.p for finding in found]
    return tuple(
        finding if finding.p is None else replace(finding, holm=float(h), bh=float(b))
        for finding, h, b in zip(found, holm(ps), benjamini_hochberg(ps), strict=True)
    )


def _expanded(claim: Claim) -> Iterator[Finding]:
    """A finding for each combination; `where` says the points that vary, or all where none does."""
    varying = {key for key, value in claim.points.items() if isinstance(value, tuple)} or set(claim.points)
    for contrast in _combinations(claim.contrast):
        for points in _combinations(claim.points):
            yield Finding(
                label=f"{_said(contrast)} − {_said(claim.baseline)}",
                where=_said({key: value for key, value in points.items() if key in varying}),
                metric=claim.metric,
                contrast=contrast,
                baseline=dict(claim.baseline),
                points=points,
            )


def _combinations(axes: Mapping[str, Value | tuple[Value, ...]]) -> Iterator[dict[str, Value]]:
    values = [value if isinstance(value, tuple) else (value,) for value in axes.values()]
    for chosen in product(*values):
        yield dict(zip(axes, chosen, strict=True))


def _said(axes: Mapping[str, Value]) -> str:
    """Choices of groups speak for themselves; values of fields come with the field's name."""
    return ", ".join(f"{key.rsplit('.', 1)[-1]}={value}" if "." in key else str(value) for key, value in axes.items())


def _sides(study: Study, finding: Finding) -> tuple[Arm, Arm] | str:
    """The two arms that a finding compares, or the reason why there is none."""
    series = finding.metric in SERIES
    name = f"{finding.label} at {finding.where}" if finding.where else finding.label
    try:
        ours = arm_of(study, {**finding.points, **finding.contrast}, name, series)
        theirs = arm_of(study, {**finding.points, **finding.baseline}, name, series)
        agreeing(ours, theirs, {*finding.contrast, *finding.baseline, *finding.points}, name, series)
    except (Lacking, UserError) as reason:  # later cells may leave open what was clear, and must not void the others
        return str(reason)
    return ours, theirs


def _tested(study: Study, finding: Finding, sides: tuple[Arm, Arm] | str) -> Finding:
    if isinstance(sides, str):
        return replace(finding, why=sides)
    try:
        return (_of_curves if finding.metric in SERIES else _of_cells)(study, finding, *sides)
    except Lacking as reason:
        return replace(finding, why=str(reason))


def _of_cells(study: Study, finding: Finding, ours: Arm, theirs: Arm) -> Finding:
    """Accuracy or thinking tokens of single cells: paired by question; over runs too where both arms have several."""
    from .stats import contrast_runs, mcnemar_exact, paired_bootstrap, sign_flip

    name, unit = ("credit", PERCENT) if finding.metric == "accuracy" else ("thinking", 1)
    a, b = ([getattr(study.scores(cell), name) for (cell,) in arm.runs] for arm in (ours, theirs))
    _same_questions(study, ours, theirs)
    if min(len(a), len(b)) > 1:
        ours_by_run, theirs_by_run = (np.stack([run.mean(axis=1) for run in runs]) for runs in (a, b))
        found = contrast_runs(ours_by_run, theirs_by_run)
        value, low, high, p = found.estimate, found.low, found.high, found.p
        test = "t over runs and questions"
    else:
        first, second = np.concatenate(a, axis=1), np.concatenate(b, axis=1)
        value = float(first.mean() - second.mean())
        low, high = paired_bootstrap(first, second)
        single = first.shape[1] == second.shape[1] == 1
        if single and np.isin(np.concatenate([first, second]), (0, 1)).all():
            p, test = mcnemar_exact(first[:, 0], second[:, 0]), "McNemar, exact"
        else:
            p, test = sign_flip(first, second), "sign flips by question"
    n, level = _over(ours, theirs, f"{a[0].shape[0]} questions")
    return replace(finding, value=unit * value, low=unit * low, high=unit * high, p=p, n=n, level=level, test=test)


def _of_curves(study: Study, finding: Finding, ours: Arm, theirs: Arm) -> Finding:
    """A metric of whole series: each resample takes the same questions, and runs, at all points of both curves."""
    from .metrics import curve
    from .stats import CurveRuns, contrast_curves

    _same_questions(study, ours, theirs)

    def side(arm: Arm) -> CurveRuns:
        accuracy, tokens = curves_of(study, arm)
        if finding.metric == "control":
            low, high = curve.bounds(limits(study.whole, arm.runs[0]), len(arm.runs[0]))
            return CurveRuns(accuracy, tokens, lambda tokens, _: curve.control_of(tokens, low, high))
        return CurveRuns(accuracy, tokens, curve.scaling_of if finding.metric == "scaling" else curve.performance_of)

    best = finding.metric == "performance"
    try:
        found = contrast_curves(side(ours), side(theirs), maximum=best)
    except ValueError as error:
        raise Lacking(str(error)) from error
    counted = f"{found.n_questions} questions, {len(ours.runs[0])} against {len(theirs.runs[0])} cells"
    n, level = _over(ours, theirs, counted)
    return replace(
        finding,
        value=found.estimate,
        low=found.low,
        high=found.high,
        p=found.p,
        n=n,
        level=level,
        test="bootstrap of whole curves" + (", corrected for taking the maximum" if best else ""),
    )


def _over(ours: Arm, theirs: Arm, counted: str) -> tuple[str, Literal["rules", "checkpoints"]]:
    """What a finding was made over, in words, and what it speaks of."""
    level: Literal["rules", "checkpoints"] = "rules" if min(ours.trainings, theirs.trainings) > 1 else "checkpoints"
    runs = len(ours.runs), len(theirs.runs)
    if min(runs) > 1:
        return f"{counted}, {runs[0]} against {runs[1]} runs", level
    return f"{counted}; {_checkpoints(ours, theirs)}", "checkpoints"


def _same_questions(study: Study, ours: Arm, theirs: Arm) -> None:
    asked = {study.scores(cell).questions for arm in (ours, theirs) for run in arm.runs for cell in run}
    if len(asked) > 1:
        raise Lacking("the two sides answered different questions")


def _checkpoints(ours: Arm, theirs: Arm) -> str:
    return "one checkpoint" if ours.checkpoints == theirs.checkpoints else "two checkpoints, not two rules"


def claimed(study: Study, metric: Metric, ours: Sequence[CellResult], theirs: Sequence[CellResult]) -> Finding | None:
    """The finding that compares just these cells; None if no claim declares it."""
    wanted = _grades(ours), _grades(theirs)
    for finding in findings(study):
        if finding.metric == metric:
            sides = (matching(study.whole, {**finding.points, **side}) for side in (finding.contrast, finding.baseline))
            if tuple(map(_grades, sides)) == wanted:
                return finding
    return None


def _grades(cells: Sequence[CellResult]) -> frozenset[str]:
    return frozenset(cell.stages["grade"] for cell in cells)
