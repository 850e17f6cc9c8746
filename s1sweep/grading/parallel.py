"""Parallel samples to one answer: votes and choices over judged readouts. Pure; knows no file and no model.

Ties share the credit, so that no order of samples is ever preferred (most tools take the first seen).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from s1sweep.spec import ParallelSpec


@dataclass(frozen=True)
class Voter:
    """One readout as a vote: its answer (None if it has none), its thinking tokens, and a reward model's score."""

    answer: str | None
    tokens: int
    score: float | None


@dataclass(frozen=True)
class VoteOutcome:
    """Places of the readouts that stand for the winners, one for each, and (answer, weight) of all, heaviest first."""

    winners: tuple[int, ...]
    votes: tuple[tuple[str, float], ...]


def decide(voters: Sequence[Voter], rule: ParallelSpec, equal: Callable[[str, str], bool]) -> VoteOutcome:
    """The answers that win. `equal` says whether two extracted answers are one; who has no answer never wins."""
    able = [i for i, voter in enumerate(voters) if voter.answer is not None]
    if rule.rule == "best":
        scores = {i: voters[i].score or 0.0 for i in able}
        best = tuple(i for i in able if scores[i] == max(scores.values()))
        ranked = sorted(able, key=lambda i: -scores[i])
        return VoteOutcome(best, tuple((voters[i].answer or "", scores[i]) for i in ranked))
    if rule.rule == "shortest":
        # Those that finish first vote; a tie for the last place lets all of it in.
        tokens = sorted(voters[i].tokens for i in able)
        able = [i for i in able if voters[i].tokens <= tokens[min(rule.m, len(tokens)) - 1]]
    groups = _groups(able, voters, equal)
    weights = [_weight([voters[i] for i in group], rule) for group in groups]
    top = max(weights, default=0.0)
    order = sorted(range(len(groups)), key=lambda g: -weights[g])
    return VoteOutcome(
        tuple(groups[g][0] for g in order if math.isclose(weights[g], top, rel_tol=1e-12)),
        tuple((voters[groups[g][0]].answer or "", round(weights[g], 6)) for g in order),
    )


def _groups(places: Sequence[int], voters: Sequence[Voter], equal: Callable[[str, str], bool]) -> list[list[int]]:
    """Places by answer. Equal texts are one answer without asking, which is most of them."""
    groups: list[list[int]] = []
    by_text: dict[str, list[int]] = {}
    for i in places:
        text = voters[i].answer or ""
        group = by_text.get(text)
        if group is None:
            group = next((g for g in groups if equal(text, voters[g[0]].answer or "")), None)
            if group is None:
                group = []
                groups.append(group)
            by_text[text] = group
        group.append(i)
    return groups


def _weight(group: Sequence[Voter], rule: ParallelSpec) -> float:
    if rule.rule != "weighted":
        return float(len(group))
    if rule.weight == "score":
        return math.fsum(voter.score or 0.0 for voter in group)
    # Shortest majority vote (arXiv 2502.12215): votes over the logarithm of their mean length.
    return len(group) / math.log(max(math.e, math.fsum(voter.tokens for voter in group) / len(group)))
