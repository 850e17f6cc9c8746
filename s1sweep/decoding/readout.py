"""A readout: an answer taken from a trace at one cut, with all that explains it. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

READOUTS = "readouts.jsonl"

# natural: the model ended its thinking; forced: the budget did; cut: it ended past the cap in a later round (s1's
# harness then cuts without forcing); context: the model's context was full; skipped: it was not allowed to think;
# unmet: no try of rejection sampling met the limit.
Ending = Literal["natural", "forced", "cut", "context", "skipped", "unmet"]
ENDINGS: tuple[Ending, ...] = ("natural", "forced", "cut", "context", "skipped", "unmet")


@dataclass(frozen=True)
class Answer:
    """What the model wrote after the end of thinking. `finish` is how it ended."""

    token_ids: tuple[int, ...]
    finish: Literal["stop", "length", "context", "none"]


NO_ANSWER = Answer((), "none")


@dataclass(frozen=True)
class Probe:
    """The answer the model would give after `at` thinking tokens: at a chosen cut, or where an end was ignored."""

    kind: Literal["cut", "end"]
    at: int
    lead: str
    answer: Answer


@dataclass(frozen=True)
class Readout:
    """One answer and what led to it.

    `injected` holds [start, end) spans of `thinking_ids` that were appended, not decoded. `lead` is the text put
    before the answer. Of the thinking, the first `shared` tokens are also those of an earlier readout of the same
    sample. `steps` are a reward model's scores of the steps, `score` their aggregate. Beside the readout's own tokens,
    `verifier_tokens` were spent on checking and correcting, and `discarded_tokens` on thinking that was thrown away;
    `scored_tokens` were read by a reward model.
    """

    thinking_ids: tuple[int, ...]
    injected: tuple[tuple[int, int], ...]
    ignored: int
    ended: Ending
    lead: str
    answer: Answer
    probes: tuple[Probe, ...] = ()
    shared: int = 0
    tries: int = 1
    verifier_tokens: int = 0
    discarded_tokens: int = 0
    scored_tokens: int = 0
    steps: tuple[float, ...] = ()
    score: float | None = None


def loop(ids: tuple[int, ...], longest: int = 256, repeats: int = 3) -> tuple[int, int] | None:
    """(period, tokens) of the repetition that ends `ids`, or None.

    A loop repeats its period at least `repeats` times and covers at least 24 tokens; the shortest period counts.
    """
    for period in range(1, min(longest, len(ids) // repeats) + 1):
        span = max(period * repeats, 24)
        if span <= len(ids) and ids[-span:-period] == ids[len(ids) - span + period :]:
            start = len(ids) - span
            while start and ids[start - 1] == ids[start - 1 + period]:
                start -= 1
            return period, len(ids) - start
    return None
