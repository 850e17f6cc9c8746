"""Decodes all stages of a session at once, question by question.

All cells that ask the same question of the same sample run together, because they share its traces; many such units
are under way at once, and nothing waits for anything else. A stage is yielded as soon as its last question is
answered, and one that fails ends alone. Memory holds the units under way, whatever the number and length of the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from s1sweep.decoding.case import Case, Format, Scorer
from s1sweep.decoding.engines import Engine
from s1sweep.decoding.methods import METHODS
from s1sweep.decoding.questions import PendingCase, units
from s1sweep.decoding.readout import Readout
from s1sweep.decoding.rows import row_of
from s1sweep.decoding.segments import Segments
from s1sweep.decoding.stage import ProgressWriter, RunningStage
from s1sweep.decoding.trace import Memo, Tally
from s1sweep.stages.contract import Done, Item

UNITS = 512  # (question, sample) pairs under way at once: more than an engine runs, so that their slow ends overlap


def serve(
    runner: asyncio.Runner,
    items: Sequence[Item],
    engine: Engine,
    chat: Format,
    stored: Segments | None = None,
    tally: Tally | None = None,
    scorers: Mapping[Path, Scorer] | None = None,
    shard: tuple[int, int] | None = None,
) -> Iterator[tuple[Item, Done | Exception]]:
    """Each item with how it ended, as it ends. A stage's cost is that of the session up to its end.

    `runner` is that of the `decode_session` that owns the engine; `scorers` are by an item's folder. With `shard`
    (number, of how many), only the traces of that share of the questions are made, and no output.
    """
    tally = tally or Tally()
    requested = 0
    stages: list[RunningStage] = []
    try:
        for item in items:
            try:
                stage = RunningStage(item, chat, (scorers or {}).get(item.out), keeps=shard is None)
            except Exception as error:
                yield item, error
                continue
            if stage.over:
                yield item, stage.done({**_cost(tally, engine), "requested_tokens": 0})
            else:
                stages.append(stage)
        work = _Work(stages, partial(Memo, engine, stored, tally), chat, tally, shard)
        work.start(runner)
        while (ended := runner.run(work.ended())) is not None:
            stage, failed = ended
            if failed is not None:
                yield stage.item, failed
                continue
            requested += stage.alone
            yield stage.item, stage.done({**_cost(tally, engine), "requested_tokens": requested})
        for stage in stages:
            if not stage.over:  # a shard's: it is whole when all is over
                yield stage.item, stage.done(_cost(tally, engine))
    finally:
        for stage in stages:
            stage.close()


class _Work:
    """The stages of a session at work on an event loop."""

    def __init__(
        self,
        stages: Sequence[RunningStage],
        memo: Callable[[], Memo],
        chat: Format,
        tally: Tally,
        shard: tuple[int, int] | None,
    ) -> None:
        self._memo, self._chat = memo, chat
        self._left = len(stages)
        self._total, self._units = units(stages, shard)
        self._ended: asyncio.Queue[tuple[RunningStage, Exception | None] | None] = asyncio.Queue()
        self._progress = ProgressWriter(stages, tally)

    def start(self, runner: asyncio.Runner) -> None:
        """Begin; it goes on whenever the loop runs."""
        self._all = runner.get_loop().create_task(self._run())

    async def ended(self) -> tuple[RunningStage, Exception | None] | None:
        """The next stage that has ended, with what it failed of; None when all is over. Raises what ends all."""
        while True:
            try:
                async with asyncio.timeout(self._progress.every):
                    ended = await self._ended.get()
            except TimeoutError:
                self._progress.write()
                continue
            self._progress.write()
            if ended is None and self._left:
                await self._all
            return ended

    async def _run(self) -> None:
        try:
            await asyncio.gather(*(self._run_units() for _ in range(min(UNITS, self._total))))
        finally:
            self._ended.put_nowait(None)

    async def _run_units(self) -> None:
        for asks in self._units:
            memo = self._memo()
            await asyncio.gather(*(self._case(ask, memo) for ask in asks))
            memo.close()

    async def _case(self, ask: PendingCase, memo: Memo) -> None:
        stage = ask.stage
        if stage.over:
            return
        stage.started = stage.started or time.time()
        try:
            rows, alone = await _rows(ask, memo, self._chat)
            if stage.over or not stage.take(ask.place, rows, alone):
                return
            failed = None
        except Exception as error:
            failed = error
        if not stage.over:
            stage.over = True
            self._left -= 1
            self._ended.put_nowait((stage, failed))
            if not self._left:
                self._ended.put_nowait(None)  # what else is under way is for nobody


async def _rows(ask: PendingCase, memo: Memo, chat: Format) -> tuple[list[dict[str, Any]], int]:
    """The rows of one case, and the tokens it would have cost alone."""
    spec = ask.stage.spec
    case = Case(
        memo, chat, ask.text, spec.sampling, ask.question.id, ask.sample, ask.stage.longest_prompt, ask.stage.scorer
    )
    readouts = await METHODS[spec.method.kind].run(spec.method, spec.extrapolation, case)
    if case.scorer is not None:
        readouts = [await _scored(readout, case, case.scorer) for readout in readouts]
    rows = [row_of(ask.question.id, ask.sample, readout, chat) for readout in readouts]
    # What the case spent as a whole stands with its first readout.
    for i, row in enumerate(rows):
        row |= {"prefilled_tokens": 0 if i else case.prefilled, "decoded_tokens": 0 if i else case.decoded}
    return rows, case.decoded


async def _scored(readout: Readout, case: Case, scorer: Scorer) -> Readout:
    if readout.score is not None or readout.ended == "unmet":
        return readout
    judged = await scorer.score(case.user, case.chat.decode(readout.thinking_ids))
    return replace(readout, steps=judged.steps, score=judged.score, scored_tokens=judged.tokens)


def _cost(tally: Tally, engine: Engine) -> dict[str, Any]:
    return {
        "decoded_tokens": tally.decoded,
        "reused_tokens": tally.reused,
        "prefilled_tokens": tally.prefilled,
        "scored_tokens": tally.scored,
        "engine": dict(engine.fingerprint()),
    }
