"""Traces: streams of tokens decoded from one prefix, once, and only as far as someone reads.

Every reader of the same prefix gets the same `Trace` from the memo, so a grid costs its distinct tokens: under greedy
decoding a
cap of 512 is a prefix of a cap of 1024, and "Wait" twice extends "Wait" once. Readers that ask while a request runs are
served by the next one together. Token ids only. Knows no method, no text and no grading.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from s1sweep.decoding.engine import Engine, Sampling

BLOCK = 64  # tokens a sampled trace advances at a time; part of what its seeds mean, so never change it


@dataclass(frozen=True)
class Cut:
    """The first tokens of a trace. `ended` is how the stream ended within the cut, or None if it goes on."""

    token_ids: tuple[int, ...]
    ended: Literal["stop", "context"] | None


@dataclass(frozen=True)
class Stream:
    """What makes two traces one: prefix, stops, and how tokens are drawn. `item` tells samples of a prefix apart."""

    prefix: tuple[int, ...]
    stop_ids: tuple[int, ...]
    sampling: Sampling
    item: tuple[str, int]  # question id, sample; the same for all readers of a greedy prefix

    def nonempty(self, prefix: tuple[int, ...]) -> Stream:
        return replace(self, prefix=prefix, sampling=replace(self.sampling, min_tokens=1))

    def seed(self, block: int) -> int:
        """Seed of one block: from the base seed, the item, the path to here, and the block, never reused."""
        path = hashlib.sha256(repr((self.sampling, self.item, self.prefix, block)).encode()).digest()
        return int.from_bytes(path[:4], "big")


class Trace:
    """One stream. Obtained from a `Memo`, never made by a method."""

    def __init__(self, memo: Memo, stream: Stream) -> None:
        self._memo = memo
        self._stream = stream
        self._tokens: list[int] = []
        self._ended: Literal["stop", "context"] | None = None
        self._wanted = 0
        self._extending: asyncio.Future[None] | None = None

    async def upto(self, n: int) -> Cut:
        """The first `n` tokens, or fewer if the stream ends. A stop after exactly `n` tokens is beyond the cut."""
        while self._ended is None and len(self._tokens) < n:
            self._wanted = max(self._wanted, n)
            if self._extending is None:
                self._extending = asyncio.ensure_future(self._extend())
                self._extending.add_done_callback(self._extended)
            await asyncio.shield(self._extending)
        within = len(self._tokens) < n
        return Cut(tuple(self._tokens[:n]), self._ended if within else None)

    def branch(self, cut: Cut, injected: Sequence[int]) -> Trace:
        """The trace that goes on after `cut` and the injected ids; a stop in first place is banned."""
        prefix = (*self._stream.prefix, *cut.token_ids, *injected)
        return self._memo.trace(self._stream.nonempty(prefix))

    def nonempty(self) -> Trace:
        """The same stream, but for a stop in first place, which is banned."""
        return self._memo.trace(self._stream.nonempty(self._stream.prefix))

    def _extended(self, _: asyncio.Future[None]) -> None:
        self._extending = None

    async def _extend(self) -> None:
        # Let every reader that is ready say how far it wants to read.
        await asyncio.sleep(0)
        done = len(self._tokens)
        sampling, want = self._stream.sampling, self._wanted - done
        if sampling.temperature > 0:
            want = BLOCK
            sampling = replace(sampling, seed=self._stream.seed(done // BLOCK))
        if done:
            sampling = replace(sampling, min_tokens=0)
        prompt = (*self._stream.prefix, *self._tokens)
        got = await self._memo.engine.generate(prompt, want, self._stream.stop_ids, sampling)
        self._tokens.extend(got.token_ids)
        self._memo.decoded += len(got.token_ids) + (got.finish == "stop")
        if got.finish != "length":
            self._ended = got.finish


class Memo:
    """All traces of one checkpoint. `decoded` counts tokens the engine made, stops included."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.decoded = 0
        self._traces: dict[Stream, Trace] = {}

    def trace(self, stream: Stream) -> Trace:
        return self._traces.setdefault(stream, Trace(self, stream))
