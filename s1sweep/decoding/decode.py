"""The `decode` stage: one (checkpoint, task, method, sampling); one engine session serves all stages of a checkpoint.

Work goes question by question: all cells that ask the same question of the same sample run together, because they share
its traces; many such units are under way at once, and nothing waits for anything else. A stage is yielded as soon as
its last question is answered. Memory holds the units under way, whatever the number and length of the others.

A shard of a session decodes its share of the questions and leaves nothing but their traces, from which the session then
takes what it would otherwise decode. So results do not depend on how many engines there are.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from s1sweep.decoding.case import Case, Format, Scorer
from s1sweep.decoding.chat import Chat, load_tokenizer, question_text
from s1sweep.decoding.engine import Engine
from s1sweep.decoding.methods import METHODS
from s1sweep.decoding.readout import ENDINGS, READOUTS, Readout
from s1sweep.decoding.rows import TOKENS, Rows, row_of
from s1sweep.decoding.segments import Segments
from s1sweep.decoding.trace import Memo, Tally
from s1sweep.identity import digest, encode, tree_sha256
from s1sweep.sources import model_digest, model_path
from s1sweep.sources.tasks import Question, asked
from s1sweep.spec import DecodeStage, ModelSpec, ScorerSpec
from s1sweep.stages.contract import Done, Item
from s1sweep.stages.resources import Resources
from s1sweep.store import write_progress

VERSION = 2
SCORER_VERSION = 1
UNITS = 512  # (question, sample) pairs under way at once: more than an engine runs, so that their slow ends overlap
_PROGRESS_EVERY = 2.0  # seconds
_COLLECT_EVERY = 20_000  # new objects between collections: thousands of waiting cases make each one slow


def run_all(items: Sequence[Item], resources: Resources, **_: Any) -> Iterator[tuple[Item, Done | Exception]]:
    """Run the stages of one checkpoint in one engine session; yields each as it finishes."""
    first: DecodeStage = items[0].spec
    checkpoint = items[0].inputs.get("checkpoint")
    weights = str(checkpoint / "checkpoint") if checkpoint else model_path(first.model)
    chat = Chat(first.model, load_tokenizer(first.model))
    tally = Tally()
    with ExitStack() as stack:
        engine = _engine(first.model, weights, resources, stack)
        stored = None
        if resources.traces is not None:
            stored = stack.enter_context(closing(segments(Path(resources.traces), first.model, weights, engine)))
        made: dict[str, Scorer] = {}
        scorers: dict[Path, Scorer] = {}
        for item in items:
            if item.spec.scorer is not None:
                key = digest(encode(item.spec.scorer))
                scorers[item.out] = made[key] = made.get(key) or _scorer(item.spec.scorer, resources, stored, tally)
        yield from drive(serve(items, engine, chat, stored, tally, scorers, resources.shard))


def _engine(model: ModelSpec, weights: str, resources: Resources, stack: ExitStack) -> Engine:
    """The engine of this process, or the server that stands in for it."""
    if resources.endpoint is not None:
        from s1sweep.decoding.openai_engine import OpenAIEngine

        return stack.enter_context(closing(OpenAIEngine(model, weights, resources.endpoint)))
    from s1sweep.decoding.vllm_engine import LazyEngine

    return LazyEngine(model, weights, resources)


def segments(traces: Path, model: ModelSpec, weights: str, engine: Engine) -> Segments:
    """The stored blocks of these weights under this engine; all that tokens depend on beside their stream."""
    local = Path(weights).is_dir()
    about = {
        "decode": VERSION,
        "weights": tree_sha256(Path(weights), ("*.safetensors", "config.json")) if local else model_digest(model),
        "model": encode(model),
        "engine": dict(engine.fingerprint()),
    }
    return Segments(traces, about)


def _scorer(spec: ScorerSpec, resources: Resources, stored: Segments | None, tally: Tally) -> Scorer:
    from s1sweep.decoding.scorer import ProcessRewardModel
    from s1sweep.decoding.vllm_engine import LazyEngine

    engine = LazyEngine(spec, model_path(spec), resources, role="scorer")
    about = {"model": model_digest(spec), "spec": encode(spec), "engine": dict(engine.fingerprint())}
    return ProcessRewardModel(spec, load_tokenizer(spec), engine, about, stored, tally)


def drive(stages: AsyncIterator[tuple[Item, Done | Exception]]) -> Iterator[tuple[Item, Done | Exception]]:
    """Step an async iterator from plain code, on a loop of its own."""
    event_loop = asyncio.new_event_loop()
    thresholds = gc.get_threshold()
    gc.set_threshold(_COLLECT_EVERY, *thresholds[1:])
    try:
        while True:
            try:
                yield event_loop.run_until_complete(anext(stages))
            except StopAsyncIteration:
                return
    finally:
        gc.set_threshold(*thresholds)
        event_loop.close()


@dataclass
class _Stage:
    """A stage on its way: its rows so far, and counts over them."""

    item: Item
    asked: Sequence[Question]
    rows: Rows | None
    longest_prompt: int
    scorer: Scorer | None
    alone: int = 0  # tokens its readouts would have cost without sharing
    failed: bool = False
    sums: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    finishes: Counter[str] = field(default_factory=Counter)

    def count(self, rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            self.sums["readouts"] += 1
            self.sums["loops"] += row["loop"] is not None
            self.sums.update({name: row[name] for name in (*TOKENS, "ignored", "tries")})
            self.endings[row["ended"]] += 1
            self.finishes[row["answer_finish"]] += 1

    def summary(self) -> dict[str, Any]:
        n = self.sums["readouts"] or 1
        return {
            "questions": len(self.asked),
            "readouts": self.sums["readouts"],
            **{f"mean_{name}": self.sums[name] / n for name in (*TOKENS, "ignored", "tries")},
            "loop_share": self.sums["loops"] / n,
            "endings": {name: self.endings[name] for name in ENDINGS if self.endings[name]},
            "answer_finishes": dict(sorted(self.finishes.items())),
        }


@dataclass(frozen=True)
class _Ask:
    """One case to run: a stage, where its rows go, and what is asked."""

    stage: _Stage
    place: int
    question: Question
    text: str
    sample: int


async def serve(
    items: Sequence[Item],
    engine: Engine,
    chat: Format,
    stored: Segments | None = None,
    tally: Tally | None = None,
    scorers: Mapping[Path, Scorer] | None = None,
    shard: tuple[int, int] | None = None,
) -> AsyncIterator[tuple[Item, Done | Exception]]:
    """Decode all stages at once. A stage's cost is that of the session up to its end.

    With `shard` (number, of how many), only the traces of that share of the questions are made, and no output.
    """
    tally = tally or Tally()
    stages = [_stage(item, chat, (scorers or {}).get(item.out), shard) for item in items]
    total, units = _units(stages, shard)
    ended: asyncio.Queue[tuple[_Stage, Exception | None]] = asyncio.Queue()
    done_units = 0
    for stage in stages:
        if stage.rows is not None and not stage.asked:  # no row of a pool was left to ask
            stage.rows.finish()
            ended.put_nowait((stage, None))

    async def work() -> None:
        nonlocal done_units
        for asks in units:
            memo = Memo(engine, stored, tally)
            await asyncio.gather(*(_case(ask, memo, chat, ended) for ask in asks))
            memo.close()
            done_units += 1

    working = asyncio.gather(*(work() for _ in range(min(UNITS, total))))
    requested = 0
    while not (working.done() and ended.empty()):
        got = asyncio.ensure_future(ended.get())
        await asyncio.wait((got, working), return_when=asyncio.FIRST_COMPLETED, timeout=_PROGRESS_EVERY)
        write_progress(items[0].out, done=done_units, total=total, tokens=tally.decoded)
        if not got.done():
            got.cancel()
            continue
        stage, error = got.result()
        if error is not None:
            yield stage.item, error
            continue
        requested += stage.alone
        yield stage.item, Done(stage.summary(), {**_cost(tally, engine), "requested_tokens": requested})
    working.result()
    for stage in stages if shard is not None else ():
        if not stage.failed:
            yield stage.item, Done({}, _cost(tally, engine))


def _stage(item: Item, chat: Format, scorer: Scorer | None, shard: tuple[int, int] | None) -> _Stage:
    spec: DecodeStage = item.spec
    found = asked(spec.task, item.inputs)
    rows = None if shard else Rows(item.out / READOUTS, len(found) * spec.sampling.samples)
    longest = 0
    if getattr(spec.method, "max_thinking_tokens", None) == "auto_harness":
        longest = max((len(chat.prompt(question_text(q, spec.task))) for q in found), default=0)
    return _Stage(item, found, rows, longest, scorer)


def _units(stages: Sequence[_Stage], shard: tuple[int, int] | None) -> tuple[int, Iterator[list[_Ask]]]:
    """How many units there are, and each in turn: all that asks the same of the same sample. By question, and those
    expected to take longest first.

    Made as they are needed: a sweep of many samples would hold more of them than of anything else.
    """
    asking: dict[str, list[tuple[_Stage, int, Question]]] = defaultdict(list)
    for stage in stages:
        spec: DecodeStage = stage.item.spec
        for i, question in enumerate(stage.asked):
            text = question_text(question, spec.task)
            if shard is None or int(hashlib.sha256(text.encode()).hexdigest(), 16) % shard[1] == shard[0]:
                asking[text].append((stage, i, question))

    def samples(asks: Sequence[tuple[_Stage, int, Question]]) -> int:
        return max(stage.item.spec.sampling.samples for stage, _, _ in asks)

    def units() -> Iterator[list[_Ask]]:
        for text in sorted(asking, key=lambda text: -len(text)):
            for sample in range(samples(asking[text])):
                asks = []
                for stage, i, question in asking[text]:
                    own = stage.item.spec.sampling.samples
                    if sample < own:
                        asks.append(_Ask(stage, i * own + sample, question, text, sample))
                yield asks

    return sum(map(samples, asking.values())), units()


async def _case(ask: _Ask, memo: Memo, chat: Format, ended: asyncio.Queue[tuple[_Stage, Exception | None]]) -> None:
    stage = ask.stage
    if stage.failed:
        return
    try:
        rows, alone = await _rows(ask, memo, chat)
    except Exception as error:
        if not stage.failed:
            stage.failed = True
            ended.put_nowait((stage, error))
        return
    if stage.rows is None or stage.failed:
        return
    stage.alone += alone
    stage.count(rows)
    if stage.rows.put(ask.place, rows):
        stage.rows.finish()
        ended.put_nowait((stage, None))


async def _rows(ask: _Ask, memo: Memo, chat: Format) -> tuple[list[dict[str, Any]], int]:
    """The rows of one case, and the tokens it would have cost alone."""
    spec: DecodeStage = ask.stage.item.spec
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
