"""The `decode` stage: one (checkpoint, task, method, sampling); one engine session serves all stages of a checkpoint.

Every question of every stage runs on its own: there is no barrier between thinking, extension and answer, nor between
stages. A stage is yielded as soon as its last question is answered.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import fmean
from typing import Any

from s1sweep.decoding.chat import Chat, load_tokenizer, question_text
from s1sweep.decoding.engine import Engine, Sampling
from s1sweep.decoding.methods import METHODS
from s1sweep.decoding.readout import READOUTS, Answer, Readout
from s1sweep.decoding.segments import Segments
from s1sweep.decoding.trace import Memo, Stream, costs_alone
from s1sweep.identity import encode, tree_sha256
from s1sweep.runtime.job import Done, Item, Resources
from s1sweep.sources import Question, model_digest, model_path, questions
from s1sweep.spec import DecodeStage, ModelSpec, SamplingSpec
from s1sweep.store import write_progress

VERSION = 1
_PROGRESS_EVERY = 2.0  # seconds


def run_all(items: Sequence[Item], resources: Resources, **_: Any) -> Iterator[tuple[Item, Done | Exception]]:
    """Run the stages of one checkpoint in one engine session; yields each as it finishes."""
    from s1sweep.decoding.vllm_engine import warm_engine

    first: DecodeStage = items[0].spec
    checkpoint = items[0].inputs.get("checkpoint")
    weights = str(checkpoint / "checkpoint") if checkpoint else model_path(first.model)
    engine = warm_engine(first.model, weights, resources)
    chat = Chat(first.model, load_tokenizer(first.model))
    if resources.traces is None:
        yield from drive(serve(items, engine, chat))
        return
    with closing(segments(Path(resources.traces), first.model, weights, engine)) as stored:
        yield from drive(serve(items, engine, chat, stored))


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


def drive(stages: AsyncIterator[tuple[Item, Done | Exception]]) -> Iterator[tuple[Item, Done | Exception]]:
    """Step an async iterator from plain code, on a loop of its own."""
    loop = asyncio.new_event_loop()
    try:
        while True:
            try:
                yield loop.run_until_complete(anext(stages))
            except StopAsyncIteration:
                return
    finally:
        loop.close()


async def serve(
    items: Sequence[Item], engine: Engine, chat: Chat, segments: Segments | None = None
) -> AsyncIterator[tuple[Item, Done | Exception]]:
    """Decode all stages at once over one memo of traces. A stage's cost is that of the session up to its end."""
    memo = Memo(engine, segments)
    requested = 0
    running = {asyncio.ensure_future(_stage(item, memo, chat)): item for item in items}
    while running:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED, timeout=_PROGRESS_EVERY)
        write_progress(items[0].out, done=len(items) - len(running), total=len(items), tokens=memo.decoded)
        for future in done:
            item, error = running.pop(future), future.exception()
            if isinstance(error, Exception):
                yield item, error
            elif error is not None:
                raise error
            else:
                summary, alone = future.result()
                requested += alone
                cost = {
                    "decoded_tokens": memo.decoded,
                    "reused_tokens": memo.reused,
                    "requested_tokens": requested,
                }
                yield item, Done(summary, cost)


async def _stage(item: Item, memo: Memo, chat: Chat) -> tuple[dict[str, Any], int]:
    """A stage's summary, and the tokens it would have cost alone."""
    costs = costs_alone()
    spec: DecodeStage = item.spec
    asked = questions(spec.task)
    pairs = [(q, sample) for q in asked for sample in range(spec.sampling.samples)]
    readouts = await asyncio.gather(*(_question(spec, q, sample, memo, chat) for q, sample in pairs))
    rows = [
        _row(q, sample, readout, chat)
        for (q, sample), several in zip(pairs, readouts, strict=True)
        for readout in several
    ]
    _write(item.out / READOUTS, rows)
    summary = {
        "questions": len(asked),
        "readouts": len(rows),
        "mean_thinking_tokens": fmean(r["thinking_tokens"] for r in rows),
        "mean_answer_tokens": fmean(r["answer_tokens"] for r in rows),
    }
    return summary, sum(costs.values())


async def _question(spec: DecodeStage, question: Question, sample: int, memo: Memo, chat: Chat) -> list[Readout]:
    sampling = _sampling(spec.sampling)
    # Greedy readers of one prefix share it whatever they call it; samples and replicates never do.
    greedy = spec.sampling.temperature == 0
    name = "" if greedy else f"{question.id}/{spec.sampling.seed}"
    tag = (f"{name}/{spec.sampling.replicate}", 0 if greedy else sample)
    root = (*chat.prompt(question_text(question, spec.task)), *chat.think_start)
    trace = memo.trace(Stream(root, chat.think_stop, sampling, tag))

    async def ask(thinking: Sequence[int], into_answer: Sequence[int], max_tokens: int) -> Answer:
        stream = Stream((*root, *thinking, *into_answer), chat.answer_stop, sampling, tag)
        cut = await memo.trace(stream).upto(max_tokens)
        return Answer(cut.token_ids, cut.ended or "length")

    method = METHODS[spec.method.kind]
    return await method.run(spec.method, spec.extrapolation, chat, trace, ask)


def _sampling(spec: SamplingSpec) -> Sampling:
    return Sampling(temperature=spec.temperature, top_p=spec.top_p)


def _row(question: Question, sample: int, readout: Readout, chat: Chat) -> dict[str, Any]:
    answer = chat.decode(readout.answer.token_ids)
    return {
        "question_id": question.id,
        "sample": sample,
        "ended": readout.ended,
        "ignored": readout.ignored,
        "thinking_tokens": len(readout.thinking_ids),
        "injected_tokens": sum(end - start for start, end in readout.injected),
        "answer_tokens": len(readout.answer.token_ids),
        "answer_finish": readout.answer.finish,
        "thinking_ids": readout.thinking_ids,
        "injected": readout.injected,
        "answer_ids": readout.answer.token_ids,
        "thinking": _marked(readout, chat),
        "answer": answer,
        "stated": readout.lead + answer,
    }


def _marked(readout: Readout, chat: Chat) -> list[list[Any]]:
    """The thinking as [text, injected?] pieces, so that a reader of the file needs no tokenizer."""
    pieces, at = [], 0
    for start, end in readout.injected:
        pieces.append([chat.decode(readout.thinking_ids[at:start]), False])
        pieces.append([chat.decode(readout.thinking_ids[start:end]), True])
        at = end
    pieces.append([chat.decode(readout.thinking_ids[at:]), False])
    return [piece for piece in pieces if piece[0]]


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as f:
        f.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
