"""Traces: streams of tokens decoded from one prefix, once, and only as far as someone reads.

Every reader of the same prefix gets the same `Trace` from the memo, so a grid costs its distinct tokens: under greedy
decoding a cap of 512 is a prefix of a cap of 1024, and "Wait" twice extends "Wait" once. Readers that ask while a
request runs are served by the next one together. A trace advances block by block: each is taken from the segments if
it is stored there, and otherwise decoded and stored. Token ids only. Knows no method, no text, no grading and no file.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal

from s1sweep.decoding.engine import Completion, Engine, Sampling
from s1sweep.decoding.segments import Segments
from s1sweep.identity import digest

BLOCK = 64  # tokens a sampled trace advances at a time; part of what its seeds mean, so never change it
GREEDY_BLOCK = 512  # most tokens a greedy trace advances at a time: what a killed worker may lose of it


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

    def key(self) -> bytes:
        """What finds the stream on disk again."""
        return bytes.fromhex(digest([list(self.prefix), list(self.stop_ids), vars(self.sampling), list(self.item)]))

    def seed(self, block: int) -> int:
        """Seed of one block: from the base seed, the item, the path to here, and the block, never reused."""
        path = hashlib.sha256(repr((self.sampling, self.item, self.prefix, block)).encode()).digest()
        return int.from_bytes(path[:4], "big")


_costs: ContextVar[dict[Trace, int] | None] = ContextVar("costs", default=None)


def costs_alone() -> dict[Trace, int]:
    """From here on, what the running task and those it starts read: trace -> tokens it would cost without sharing."""
    costs: dict[Trace, int] = {}
    _costs.set(costs)
    return costs


class Trace:
    """One stream. Obtained from a `Memo`, never made by a method."""

    def __init__(self, memo: Memo, stream: Stream) -> None:
        self._memo = memo
        self._stream = stream
        self._tokens: list[int] = []
        self._ended: Literal["stop", "context"] | None = None
        self._wanted = 0
        self._extending: asyncio.Future[None] | None = None
        self._tape = memo.segments.tape(stream.key()) if memo.segments else None

    async def upto(self, n: int) -> Cut:
        """The first `n` tokens, or fewer if the stream ends. A stop after exactly `n` tokens is beyond the cut."""
        while self._ended is None and len(self._tokens) < n:
            self._wanted = max(self._wanted, n)
            if self._extending is None:
                self._extending = asyncio.ensure_future(self._extend())
                self._extending.add_done_callback(self._extended)
            await asyncio.shield(self._extending)
        costs = _costs.get()
        if costs is not None:
            costs[self] = max(costs.get(self, 0), self._cost(n))
        within = len(self._tokens) < n
        return Cut(tuple(self._tokens[:n]), self._ended if within else None)

    def branch(self, cut: Cut, injected: Sequence[int]) -> Trace:
        """The trace that goes on after `cut` and the injected ids; a stop in first place is banned."""
        prefix = (*self._stream.prefix, *cut.token_ids, *injected)
        return self._memo.trace(self._stream.nonempty(prefix))

    def nonempty(self) -> Trace:
        """The same stream, but for a stop in first place, which is banned."""
        return self._memo.trace(self._stream.nonempty(self._stream.prefix))

    def _cost(self, n: int) -> int:
        """Tokens decoded for a reader of the first `n` if it were the only one, the stop included."""
        end = n if self._stream.sampling.temperature == 0 else -(-n // BLOCK) * BLOCK
        return min(end, len(self._tokens)) + (self._ended == "stop" and len(self._tokens) < end)

    def _extended(self, _: asyncio.Future[None]) -> None:
        self._extending = None

    async def _extend(self) -> None:
        # Let every reader that is ready say how far it wants to read.
        await asyncio.sleep(0)
        block = self._tape.next() if self._tape else None
        if block is not None:
            self._memo.reused += block.tokens
        else:
            block = await self._decode()
            self._memo.decoded += block.tokens
            if self._tape:
                self._tape.add(block)
        self._tokens.extend(block.token_ids)
        if block.finish != "length":
            self._ended = block.finish
            self._tape = None

    async def _decode(self) -> Completion:
        done = len(self._tokens)
        sampling, want = self._stream.sampling, min(self._wanted - done, GREEDY_BLOCK)
        if sampling.temperature > 0:
            want = BLOCK
            sampling = replace(sampling, seed=self._stream.seed(done // BLOCK))
        if done:
            sampling = replace(sampling, min_tokens=0)
        prompt = (*self._stream.prefix, *self._tokens)
        return await self._memo.engine.generate(prompt, want, self._stream.stop_ids, sampling)


class Memo:
    """All traces of one checkpoint. Stops included, `decoded` counts tokens the engine made now, `reused` those that
    were taken from the segments."""

    def __init__(self, engine: Engine, segments: Segments | None = None) -> None:
        self.engine = engine
        self.segments = segments
        self.decoded = 0
        self.reused = 0
        self._traces: dict[Stream, Trace] = {}

    def trace(self, stream: Stream) -> Trace:
        found = self._traces.get(stream)
        if found is None:
            found = self._traces[stream] = Trace(self, stream)
        return found
