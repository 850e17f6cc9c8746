"""A study's cells as ladders: rungs of one arm that differ in compute alone, below and above its natural stop.

Reads answers into arrays (questions, samples); computes no statistic.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s1sweep.answers.graders import GRADERS
from s1sweep.errors import UserError

from .critics.answers import NONE, Classes
from .labels import arm, arm_label, cap, extrapolation, task_label
from .results import CellResult
from .study import Study

Floats = NDArray[np.float64]
TRAININGS = {"none": "base", "sft": "SFT", "grpo": "RL"}
# What a rung may differ in: how far it thinks, and what is only looked at on the way.
RUNGS = ("max_thinking_tokens", "probe_cuts", "probe_ends")


@dataclass(frozen=True)
class Ladder:
    """Budget forcing of one arm, on one task, drawn in one way. `cells` holds missing ones too.

    `natural`: the finished cell that ignores no end and has the largest cap; there a sample stops where it would. `why`
    is the reason if there is none.
    """

    label: str
    task: str
    cells: tuple[CellResult, ...]
    drawn_apart: str = ""  # the same for ladders that differ in sampling alone

    @property
    def caps(self) -> list[CellResult]:
        """Those that ignore no end, by cap, the natural one last."""
        return sorted((c for c in self.cells if not extrapolation(c)[0]), key=cap)

    @property
    def natural(self) -> CellResult | None:
        last = self.caps[-1:]
        return last[0] if last and last[0].missing is None else None

    @property
    def why(self) -> str:
        last = self.caps[-1:]
        return (last[0].missing or "") if last else "no cell without ignored ends"

    @property
    def strings(self) -> list[str]:
        return list(dict.fromkeys(s for n, s in map(extrapolation, self.cells) if n))

    def ignores(self, string: str) -> list[CellResult]:
        """Those that ignore ends and append `string`, at the largest cap, by how many ends."""
        rungs = [c for c in self.cells if extrapolation(c)[0] and extrapolation(c)[1] == string]
        most = max(map(cap, (*rungs, *self.caps[-1:])), default=0)
        return sorted((c for c in rungs if cap(c) == most), key=lambda c: extrapolation(c)[0])


def ladders(study: Study, name: str, sampled: bool | None = None) -> list[Ladder]:
    """The ladders of a study in the order of their cells; `sampled` keeps those of several samples, or of one.

    Raises UserError, naming the exhibit, where there is none.
    """
    groups: dict[str, dict[str, CellResult]] = {}
    for cell in study.cells:
        several = cell.spec["sampling"]["samples"] > 1
        # One sample a vote is no vote: it only has a reward model's score beside it.
        single = cell.spec.get("parallel", {}).get("rule", "none") == "none"
        if cell.spec["method"]["kind"] == "budget_forcing" and single and sampled in (None, several):
            groups.setdefault(_arm_key(cell), {}).setdefault(cell.stages["grade"], cell)
    if not groups:
        drawn = {None: "", True: " with several samples a question", False: " with one sample a question"}[sampled]
        raise UserError(
            f"exhibit {name} needs cells of method=budget_forcing{drawn}; this sweep has none. "
            f"`s1sweep run -m experiment={name}` makes them."
        )
    firsts = [next(iter(group.values())) for group in groups.values()]
    labels = arm_names(firsts)
    return [
        Ladder(label, task_label(first), tuple(group.values()), _arm_key(first, "sampling"))
        for label, first, group in zip(labels, firsts, groups.values(), strict=True)
    ]


def _arm_key(cell: CellResult, *but: str) -> str:
    spec = {group: value for group, value in cell.spec.items() if group not in but}
    spec["method"] = {k: v for k, v in spec["method"].items() if k not in RUNGS}
    spec["extrapolation"] = {k: v for k, v in spec["extrapolation"].items() if k not in ("string", "num_ignore")}
    for unused in ("scorer", "parallel", *(("pool", "curation", "data") if arm(cell) is None else ())):
        spec.pop(unused, None)
    return json.dumps(spec, sort_keys=True)


def arm_names(cells: Sequence[CellResult]) -> list[str]:
    """What tells each cell's arm from the others', without the task: `SFT, random 256, greedy`."""
    arms = [arm(cell) for cell in cells]
    # In the README's dialect nothing leads into an answer.
    prefix = [
        None if cell.spec["method"]["dialect"] == "s1_readme" else cell.spec["method"]["forced_answer_prefix"]
        for cell in cells
    ]
    trained = {cell.spec["model"]["name"] for cell, which in zip(cells, arms, strict=True) if which is not None}
    columns: list[list[str]] = [
        [cell.spec["model"]["name"] for cell in cells],
        # A base is what another arm was trained from; other models stand for themselves.
        [TRAININGS[cell.spec["train"]["kind"]] if cell.spec["model"]["name"] in trained else "" for cell in cells],
        ["" if which is None else arm_label(which, arms) for which in arms],
        [cell.spec["method"]["dialect"] for cell in cells],
        ["" if text is None else f"forced by “{text}”" if text else "forced without words" for text in prefix],
        ["greedy" if cell.spec["sampling"]["temperature"] == 0 else "sampled" for cell in cells],
    ]
    varying = [column for column in columns if len({text for text in column if text}) > 1]
    if not varying:
        return [TRAININGS[cell.spec["train"]["kind"]] for cell in cells]
    return [", ".join(text for text in row if text) for row in zip(*varying, strict=True)]


@dataclass(frozen=True)
class LadderSamples:
    """Answers of one cell, (questions, samples). `stop`: tokens to the natural stop, itself counted; else infinite."""

    questions: tuple[str, ...]
    credit: Floats
    thinking: Floats
    total: Floats
    stop: Floats

    @property
    def n(self) -> str:
        several = f", {self.credit.shape[1]} samples each" if self.credit.shape[1] > 1 else ""
        return f"{len(self.questions)} questions{several}"


def samples(study: Study, cell: CellResult) -> LadderSamples:
    """A finished cell's answers. A stop after exactly as many tokens as the cap comes too late, hence the 1."""
    one = study.scores(cell)
    stop = np.where(one.natural, one.thinking + 1, np.inf)
    return LadderSamples(one.questions, one.credit, one.thinking, one.thinking + one.answer, stop)


def column(study: Study, cell: CellResult, name: str) -> Floats:
    """A column of a finished cell's grades, (questions, samples). Raises UserError for grades of an older s1sweep."""
    rows = study.readouts(cell)
    if name not in rows:
        raise UserError(f"the grades of {cell.key} have no {name}: an older s1sweep made them. Grade them again.")
    return np.asarray(rows[name].to_numpy(float).reshape(study.scores(cell).credit.shape))


@dataclass(frozen=True)
class Chain:
    """The answers on the way, (questions, samples, points): classes, whether right, thinking tokens so far.

    `ignored`: ends ignored at each point, 0 first. `source` says where the answers were read. A sample that reaches no
    further end stays at the point it has reached.
    """

    answers: NDArray[np.int64]
    right: NDArray[np.bool_]
    at: Floats
    ignored: tuple[int, ...]
    source: str

    @property
    def went_on(self) -> NDArray[np.bool_]:
        """(questions, samples, points - 1): whether there was an end to ignore, so that thinking went on."""
        return np.asarray(self.at[..., 1:] != self.at[..., :-1])


def chain(study: Study, ladder: Ladder, string: str) -> Chain | None:
    """All answers while ends are ignored: from the probes of the longest cell if it has them, else from the cells.

    None where fewer than two points have numbers.
    """
    rungs = [cell for cell in ladder.ignores(string) if cell.missing is None]
    probed = [cell for cell in rungs if cell.spec["method"].get("probe_ends")]
    if probed:
        n = extrapolation(probed[-1])[0]
        rows = [_on_the_way(row, n) for row in study.grades(probed[-1])]
        shape = study.scores(probed[-1]).credit.shape
        ignored, source = tuple(range(n + 1)), "answers read at every ignored end"
    else:
        cells = [*([ladder.natural] if ladder.natural else []), *rungs]
        if len(cells) < 2:
            return None
        names = ("extracted", "credit", "thinking_tokens")
        tables = [zip(*(study.readouts(cell)[name] for name in names), strict=True) for cell in cells]
        shape = study.scores(cells[0]).credit.shape
        rows = [[_said(*answer) for answer in row] for row in zip(*tables, strict=True)]
        ignored, source = tuple(extrapolation(cell)[0] for cell in cells), "answers of one cell for each point"
    points = len(rows[0])
    texts = [[[said for said, _, _ in row] for row in rows[i : i + shape[1]]] for i in range(0, len(rows), shape[1])]
    right = np.array([[hit for _, hit, _ in row] for row in rows]).reshape(*shape, points)
    at = np.array([[tokens for _, _, tokens in row] for row in rows], dtype=float).reshape(*shape, points)
    classes = _classes(ladder.cells[0].spec["task"]["grader"]).array(texts)
    return Chain(_told_apart(classes, right), right, at, ignored, source)


@cache
def _classes(grader: str) -> Classes:
    """Kept, since cells of a sweep give the same answers, and a grader may take milliseconds to compare two."""
    return Classes(GRADERS[grader].equal)


def _told_apart(classes: NDArray[np.int64], right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Right answers are one class, and no wrong one is in it: a grader need not be transitive."""
    return np.asarray(np.where(right, 0, np.where(classes == NONE, NONE, classes + 1)))


def independent(
    study: Study, ladder: Ladder, among: Sequence[Ladder]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]] | None:
    """(questions, samples): classes of independently drawn natural answers of the same arm, and whether right.

    None where no ladder of the arm has several samples.
    """
    for twin in among:
        cell = twin.natural
        if cell is None or twin.drawn_apart != ladder.drawn_apart or cell.spec["sampling"]["samples"] < 2:
            continue
        right = study.scores(cell).credit >= 0.5
        return _told_apart(answers(study, cell), right), right
    return None


def scored(study: Study, ladder: Ladder) -> CellResult | None:
    """The finished cell of the ladder's natural samples that has a reward model's score for each: best of one."""
    if ladder.natural is None:
        return None
    key = _arm_key(ladder.natural)
    for cell in study.done:
        parallel = cell.spec.get("parallel", {})
        single = parallel.get("rule") == "best" and parallel.get("n") == 1 and not extrapolation(cell)[0]
        if single and cap(cell) == cap(ladder.natural) and _arm_key(cell) == key:
            return cell
    return None


def answers(study: Study, cell: CellResult) -> NDArray[np.int64]:
    """Classes of a finished cell's answers, (questions, samples)."""
    said = study.readouts(cell)["extracted"].to_numpy(object)
    texts = [text if isinstance(text, str) else None for text in said]  # pandas may make NaN of None
    questions, drawn = study.scores(cell).credit.shape
    shape = [[[texts[i * drawn + j]] for j in range(drawn)] for i in range(questions)]
    return _classes(cell.spec["task"]["grader"]).array(shape)[..., 0]


def _on_the_way(row: dict[str, Any], n: int) -> list[tuple[str | None, bool, float]]:
    ends = [probe for probe in row["probes"] if probe["kind"] == "end"]
    found = [(probe["extracted"], probe["verdict"] == "correct", float(probe["at"])) for probe in ends]
    found.append(_at_the_end(row))
    return [*found, *[found[-1]] * (n + 1 - len(found))][: n + 1]


def _at_the_end(row: dict[str, Any]) -> tuple[str | None, bool, float]:
    return _said(row["extracted"], row["credit"], row["thinking_tokens"])


def _said(extracted: Any, credit: float, tokens: float) -> tuple[str | None, bool, float]:
    return extracted if isinstance(extracted, str) else None, bool(credit >= 0.5), float(tokens)
