"""A process reward model behind the scorer interface: worked text in, a score for each step out.

The model is a causal LM on an engine of its own. It reads the question, then the steps, each with a tag behind it; what
it would say after a tag, good or bad, is the step's score. Scores are kept in the segments like decoded blocks: the
first stored one is the truth. Knows no method, and no answer.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from s1sweep.decoding.blockfile import StoredBlock
from s1sweep.decoding.case import Judged
from s1sweep.decoding.engines import Completion, Engine
from s1sweep.decoding.segments import Segments
from s1sweep.decoding.trace import Tally
from s1sweep.errors import UserError
from s1sweep.identity import digest
from s1sweep.spec import ScorerSpec

DIGITS = 6  # of a score; what lies behind them differs from batch to batch
_SCALE = 10**DIGITS
_STORED = b"score"

AGGREGATES: Mapping[str, Callable[[tuple[float, ...]], float]] = {
    "last": lambda steps: steps[-1],
    "min": min,
    "mean": lambda steps: sum(steps) / len(steps),
    "prod": math.prod,
}


def split_steps(text: str, separators: tuple[str, ...]) -> list[str]:
    """Steps, each with the separator that ends it; blank ones are part of the next."""
    pieces = re.split(f"({'|'.join(re.escape(s) for s in sorted(separators, key=len, reverse=True))})", text)
    steps, held = [], ""
    for body, separator in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        held += body + separator
        if body.strip():
            steps.append(held)
            held = ""
    return steps


class ProcessRewardModel:
    """Scores by a generative process reward model. `about` identifies model and engine."""

    def __init__(
        self,
        spec: ScorerSpec,
        tokenizer: Any,
        engine: Engine,
        about: Mapping[str, Any],
        segments: Segments | None,
        tally: Tally,
    ) -> None:
        self._spec = spec
        self._tokenizer = tokenizer
        self._engine = engine
        self._about = digest(dict(about))
        self._segments = segments
        self._tally = tally
        self._labels = tuple(self._label(name, text) for name, text in (("good", spec.good), ("bad", spec.bad)))
        self._known: dict[bytes, asyncio.Future[float]] = {}

    async def score(self, question: str, text: str) -> Judged:
        """One score in [0, 1] for each step of the text; a text without steps scores 0."""
        spec = self._spec
        prefix = list(self._encode(spec.prompt.replace("{question}", question)))
        prefixes = []
        for step in split_steps(text, spec.separators):
            prefix += self._encode(step + spec.tag)
            prefixes.append(tuple(prefix))
        if not prefixes:
            return Judged((), 0.0, 0)
        steps = tuple(await asyncio.gather(*(self._step(ids) for ids in prefixes)))
        return Judged(steps, round(AGGREGATES[spec.aggregate](steps), DIGITS), len(prefix))

    async def _step(self, ids: tuple[int, ...]) -> float:
        key = bytes.fromhex(digest([self._about, list(ids)]))[:16]
        if key not in self._known:
            self._known[key] = asyncio.ensure_future(self._read(key, ids))
        return await self._known[key]

    async def _read(self, key: bytes, ids: tuple[int, ...]) -> float:
        place = _STORED.ljust(8)
        stored = self._segments.find(key, 0, place) if self._segments else None
        if stored is not None:
            return stored.token_ids[0] / _SCALE
        if len(ids) >= self._spec.max_model_len:
            return 0.0  # nobody can say
        good, bad = await self._engine.next_logprobs(ids, self._labels)
        self._tally.scored += len(ids)
        score = round(1 / (1 + math.exp(min(bad - good, 700.0))), DIGITS)
        if self._segments:
            self._segments.append(StoredBlock(key, 0, place, Completion((round(score * _SCALE),), "length")))
        return score

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def _label(self, name: str, text: str) -> int:
        ids = self._encode(text)
        if len(ids) != 1:
            raise UserError(
                f"scorer.{name}={text!r} is {len(ids)} tokens of the reward model's tokenizer. Give one token."
            )
        return ids[0]
