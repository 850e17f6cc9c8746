"""What the stages of a session ask, question by question.

All that asks the same of the same sample is one unit, since it shares its traces. Knows no engine and no method.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from s1sweep.decoding.chat import question_text
from s1sweep.decoding.stage import RunningStage
from s1sweep.sources.tasks import Question


@dataclass(frozen=True)
class PendingCase:
    """One case to run: a stage, where its rows go, and what is asked."""

    stage: RunningStage
    place: int
    question: Question
    text: str
    sample: int


def units(stages: Sequence[RunningStage], shard: tuple[int, int] | None) -> tuple[int, Iterator[list[PendingCase]]]:
    """How many units there are, and each in turn: by question, and those expected to take longest first.

    With `shard` (number, of how many), only that share of the questions. Sets what is asked of each stage. Units are
    made as they are needed: a sweep of many samples would hold more of them than of anything else.
    """
    asking: dict[str, list[tuple[RunningStage, int, Question]]] = defaultdict(list)
    for stage in stages:
        for i, question in enumerate(stage.asked):
            text = question_text(question, stage.spec.task)
            if shard is None or int(hashlib.sha256(text.encode()).hexdigest(), 16) % shard[1] == shard[0]:
                asking[text].append((stage, i, question))
                stage.cases += stage.spec.sampling.samples

    def samples(asks: Sequence[tuple[RunningStage, int, Question]]) -> int:
        return max(stage.spec.sampling.samples for stage, _, _ in asks)

    def each() -> Iterator[list[PendingCase]]:
        for text in sorted(asking, key=lambda text: -len(text)):
            for sample in range(samples(asking[text])):
                asks = []
                for stage, i, question in asking[text]:
                    own = stage.spec.sampling.samples
                    if sample < own:
                        asks.append(PendingCase(stage, i * own + sample, question, text, sample))
                yield asks

    return sum(map(samples, asking.values())), each()
