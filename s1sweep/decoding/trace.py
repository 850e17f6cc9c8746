"""Traces: streams of tokens decoded from one prefix, once, and only as far as someone reads.

Every reader of the same prefix gets the same `Trace` from the memo, so a grid costs its distinct tokens: under greedy
decoding a cap of 512 is a prefix of a cap of 1024, and "Wait" twice extends "Wait" once. Readers that ask while a
request runs are served by the next one together. A trace advances block by block: each is taken from the segments if
it is stored there, and otherwise decoded and stored. Token ids only. Knows no method, no text, no grading and no file.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from s1sweep.decoding.engines import Completion, Engine, Sampling
from s1sweep.decoding.segments import Segments
from s1sweep.identity import digest

BLOCK = 64  # tokens a sampled trace advances at a time; part of what its seeds mean, so never change it
GREEDY_BLOCK = 512  # most tokens a greedy trace advances at a time: what a killed worker may lose of it


_IDS: dict[int, int] = {}


def _one_of_each(token_ids: Sequence[int]) -> Iterable[int]:
    """The same ids, each one object wherever it stands: streams, and what goes on from them, then share them."""
    return map(_IDS.setdefault, token_ids, token_ids)


@dataclass(frozen=True)
class Cut:
    """The first tokens of a trace. `ended` is how the stream ended within the cut, or None if it goes on; `stop_id` is
    the stop that ended it.
    """

    token_ids: tuple[int, ...]
    ended: Literal["stop", "context"] | None
    stop_id: int | None = None


@dataclass(frozen=True)
class Stream:
    """What makes two traces one: prefix, stops, and how tokens are drawn. `item` tells draws of one prefix apart.

    `reach` is for sampling that cannot be taken up half-way: the stream is then one request of that many tokens.
    """

    prefix: tuple[int, ...]
    stop_ids: tuple[int, ...]
    sampling: Sampling
    item: tuple[str, int]  # question id and draw, sample; the same for all readers of a greedy prefix
    reach: int | None = None

    def nonempty(self) -> Stream:
        """The same, but for a stop in first place, which is banned."""
        sampling = self.sampling if self.sampling.min_tokens == 1 else replace(self.sampling, min_tokens=1)
        return Stream(self.prefix, self.stop_ids, sampling, self.item, self.reach)

    def key(self) -> bytes:
        """What finds the stream on disk again."""
        where = [list(self.prefix), list(self.stop_ids), vars(self.sampling), list(self.item), self.reach]
        return bytes.fromhex(digest(where))

    def seed(self, block: int) -> int:
        """Seed of one block: from the base seed, the item, the path to here, and the block, never reused."""
        path = hashlib.sha256(repr((self.sampling, self.item, self.prefix, block)).encode()).digest()
        return int.from_bytes(path[:4], "big")

    def block(self, done: int, wanted: int) -> int:
        """Tokens of the next request after `done` tokens, if someone wants `wanted` in all."""
        if self.reach is not None:
            return self.reach
        return BLOCK if self.sampling.temperature > 0 else min(wanted - done, GREEDY_BLOCK)

    def covered(self, n: int) -> int:
        """Tokens decoded for a reader of the first `n` if it were the only one and the stream did not end."""
        if self.reach is not None:
            return self.reach
        return n if self.sampling.temperature == 0 else -(-n // BLOCK) * BLOCK


@dataclass
class Tally:
    """What a session decoded. Stops included, `decoded` counts tokens the engine made now, `reused` those that were
    taken from the segments, `prefilled` prompt tokens the engine computed, `scored` tokens a reward model read."""

    decoded: int = 0
    reused: int = 0
    prefilled: int = 0
    scored: int = 0


class Trace:
    """One stream. Obtained from a `Memo`, never made by a method."""

    def __init__(self, memo: Memo, stream: Stream) -> None:
        self._memo = memo
        self._stream = stream
        self._tokens: tuple[int, ...] = ()
        self._ended: Literal["stop", "context"] | None = None
        self._stop_id: int | None = None
        self._wanted = 0
        self._extending: asyncio.Future[None] | None = None
        self._tape = memo.segments.tape(stream.key()) if memo.segments else None

    async def upto(self, n: int) -> Cut:
        """The first `n` tokens, or fewer if the stream ends. A stop after exactly `n` tokens is beyond the cut."""
        while self._ended is None and len(self._tokens) < n:
            self._wanted = max(self._wanted, n)
            # Not until a callback clears it: who came between would await what is done, and so never let it run.
            if self._extending is None or self._extending.done():
                self._extending = asyncio.ensure_future(self._extend())
            await self._extending
        if len(self._tokens) < n:
            return Cut(self._tokens, self._ended, self._stop_id)
        return Cut(self._tokens[:n], None)

    def cost(self, n: int) -> int:
        """Tokens decoded for a reader of the first `n` if it were the only one, the stop included."""
        end = self._stream.covered(n)
        return min(end, len(self._tokens)) + (self._ended == "stop" and len(self._tokens) < end)

    async def _extend(self) -> None:
        # Let every reader that is ready say how far it wants to read.
        await asyncio.sleep(0)
        tally = self._memo.tally
        block = self._tape.next() if self._tape else None
        if block is not None:
            tally.reused += block.tokens
        else:
            block = await self._decode()
            tally.decoded += block.tokens
            tally.prefilled += block.prefilled
            if self._tape:
                self._tape.add(block)
        self._tokens = (*self._tokens, *_one_of_each(block.token_ids))
        if block.finish != "length":
            self._ended, self._stop_id = block.finish, block.stop_id
            self._tape = None

    async def _decode(self) -> Completion:
        done, stream = len(self._tokens), self._stream
        want, sampling = stream.block(done, self._wanted), stream.sampling
        if sampling.temperature > 0:
            sampling = replace(sampling, seed=stream.seed(done // BLOCK))
        if done:
            sampling = replace(sampling, min_tokens=0)
        return await self._memo.engine.generate(stream.prefix + self._tokens, want, stream.stop_ids, sampling)


class Memo:
    """All traces of one question under one checkpoint, for as long as any method reads them."""

    def __init__(self, engine: Engine, segments: Segments | None = None, tally: Tally | None = None) -> None:
        self.engine = engine
        self.segments = segments
        self.tally = tally or Tally()
        self._traces: dict[Stream, Trace] = {}

    def close(self) -> None:
        """Let go of the traces: they know their memo, so that only the collector would find them, and late."""
        self._traces.clear()

    def trace(self, stream: Stream) -> Trace:
        found = self._traces.get(stream)
        if found is None:
            found = self._traces[stream] = Trace(self, stream)
        return found
