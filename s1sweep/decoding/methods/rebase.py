"""REBASE (arXiv 2408.00724; thu-wyz/inference_scaling): a tree of steps, widened where a reward model scores high.

At each depth the width that is left is shared out among the open nodes by a softmax of their scores, the best first and
rounded up; a node that ends its thinking, or reaches the cap, is a leaf and takes one of the width with it. Each leaf
is one answer; `parallel` says how they become one. Tokens count once, however many leaves share them.

Sharing: none; a width decides where the tree grows.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

from s1sweep.decoding.case import Case, Reading
from s1sweep.decoding.methods.budget_forcing import forced_lead
from s1sweep.decoding.readout import Ending, Readout
from s1sweep.decoding.trace import Cut
from s1sweep.spec import ExtrapolationSpec
from s1sweep.spec.control import RebaseSpec

VERSION = 1


@dataclass
class TreeNode:
    """A path of steps from the root, `ids` all of it and `step` the last. `ended` is set on leaves."""

    trace: Reading
    ids: tuple[int, ...]
    step: tuple[int, ...]
    name: str
    ended: Ending | None
    steps: tuple[float, ...]
    score: float
    read: int  # tokens the reward model read of the path
    parent: TreeNode | None


def share_out(width: int, scores: Sequence[float], balance: float) -> list[int]:
    """Children of each node: a softmax at temperature `balance`, the best first, each rounded up from what is left."""
    weights = [math.exp((score - max(scores)) / balance) for score in scores]
    children, left, mass = [0] * len(scores), width, sum(weights)
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if left <= 0:
            break
        children[i] = min(left, math.ceil(left * weights[i] / mass)) if mass > 0 else left
        left, mass = left - children[i], mass - weights[i]
    return children


async def run(spec: RebaseSpec, extrapolation: ExtrapolationSpec, case: Case) -> list[Readout]:
    """One readout for each leaf; what was spent on nodes that led to none is with the first."""
    separators = case.chat.stops("method.step_stop", spec.step_stop)
    start = case.think(stops=(*case.chat.think_stop, *separators))
    leaves: list[TreeNode] = []
    made: list[TreeNode] = []
    scored = 0
    level, children = [TreeNode(start, (), (), "", None, (), 0.0, 0, None)], [spec.width]
    while level:
        jobs = [(node, i) for node, count in zip(level, children, strict=True) for i in range(count)]
        grown = await asyncio.gather(*(_grow(spec, case, node, i, separators) for node, i in jobs))
        made += grown
        scored += sum(node.read - node.parent.read for node in grown if node.parent)  # what is new of each path
        leaves += [node for node in grown if node.ended is not None]
        level = [node for node in grown if node.ended is None]
        if level:
            children = share_out(spec.width - len(leaves), [node.score for node in level], spec.balance)
    return await _answers(spec, case, leaves, made, scored)


async def _grow(spec: RebaseSpec, case: Case, node: TreeNode, i: int, separators: tuple[int, ...]) -> TreeNode:
    """One more step after a node, with its score."""
    assert case.scorer is not None, "the plan gives REBASE a scorer"
    name = f"{node.name}/{i}"
    trace = node.trace.follow(node.step, draw=name)
    cut = await trace.upto(min(spec.max_step_tokens, spec.max_thinking_tokens - len(node.ids)))
    step, ended = cut.token_ids, _ending(cut, separators)
    if cut.ended == "stop" and ended is None:
        step = (*step, cut.stop_id or 0)  # a separator belongs to the step before it
    ids = (*node.ids, *step)
    if ended is None and len(ids) >= spec.max_thinking_tokens:
        ended = "forced"
    judged = await case.scorer.score(case.user, case.chat.decode(ids))
    return TreeNode(trace, ids, step, name, ended, judged.steps, judged.score, judged.tokens, node)


def _ending(cut: Cut, separators: tuple[int, ...]) -> Ending | None:
    if cut.ended == "context":
        return "context"
    return "natural" if cut.ended == "stop" and cut.stop_id not in separators else None


async def _answers(
    spec: RebaseSpec, case: Case, leaves: list[TreeNode], made: list[TreeNode], scored: int
) -> list[Readout]:
    root = case.think()
    seen: set[int] = set()
    shared = []
    for leaf in leaves:
        path = _path(leaf)
        shared.append(sum(len(node.step) for node in path if id(node) in seen))
        seen |= {id(node) for node in path}
    wasted = sum(len(node.step) for node in made if id(node) not in seen)
    leads = [
        forced_lead(spec.forced_answer_prefix, case.chat, leaf.ids)
        if leaf.ended in ("forced", "context")
        else ("", case.chat.think_end)
        for leaf in leaves
    ]
    answers = await asyncio.gather(
        *(root.answer(leaf.ids, into, spec.max_answer_tokens) for leaf, (_, into) in zip(leaves, leads, strict=True))
    )
    return [
        Readout(
            leaf.ids,
            (),
            0,
            leaf.ended or "natural",
            lead,
            answer,
            shared=shared[i],
            discarded_tokens=0 if i else wasted,
            scored_tokens=0 if i else scored,
            steps=leaf.steps,
            score=leaf.score,
        )
        for i, (leaf, (lead, _), answer) in enumerate(zip(leaves, leads, answers, strict=True))
    ]


def _path(node: TreeNode | None) -> list[TreeNode]:
    path = []
    while node is not None:
        path.append(node)
        node = node.parent
    return path
