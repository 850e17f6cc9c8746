"""Peak memory of a decode session over a scripted engine: many questions, many long samples, and no model.

Each length runs in a process of its own, so that one peak says nothing about the other.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import main
from s1sweep.decoding.serve import UNITS

SAMPLES = 16
EOS, THINK, ANSWER = 0, 1, 2
TEXT = 100_000  # a letter is its number above this: as in a real vocabulary, most ids are objects of their own


class Letters:
    """A chat format in which a token is a character."""

    think_start = (THINK,)
    think_end = (ANSWER,)
    think_stop = (EOS,)
    answer_stop = (EOS,)
    max_model_len = 100_000

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(byte + TEXT for byte in text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes([i - TEXT if i > TEXT else 35 for i in ids]).decode()

    def prompt(self, *turns: str) -> tuple[int, ...]:
        return self.encode("|".join(turns))

    def stops(self, field: str, stops: Sequence[str | int]) -> tuple[int, ...]:
        raise NotImplementedError

    def ids_of_words(self, words: Sequence[str]) -> tuple[int, ...]:
        raise NotImplementedError


class Script:
    """An engine that thinks for `length` tokens and answers with two; slices of one text, so that it costs no time."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._text = tuple(97 + (i * i // 7 + i // 26) % 26 + TEXT for i in range(2 * length))

    def fingerprint(self) -> Mapping[str, Any]:
        return {"engine": "scripted"}

    async def generate(self, prompt_ids: Sequence[int], max_tokens: int, stop_ids: Sequence[int], sampling: Any) -> Any:
        from s1sweep.decoding.engines import Completion

        await asyncio.sleep(0)
        if ANSWER in prompt_ids[-40:]:
            return Completion(self._text[:2], "stop", EOS)
        done = len(prompt_ids) - prompt_ids.index(THINK) - 1
        left = self._length - done
        place = sampling.seed % self._length
        if left < max_tokens:
            return Completion(self._text[place : place + left], "stop", EOS)
        return Completion(self._text[place : place + max_tokens], "length")

    async def next_logprobs(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> tuple[float, ...]:
        raise NotImplementedError

    async def release(self) -> None:
        pass


def peak() -> float:
    """The most memory this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(questions: int, length: int, out: str, pipe: Any) -> None:
    """One session in this process; sends what it took."""
    from s1sweep.decoding.readout import READOUTS
    from s1sweep.decoding.serve import serve
    from s1sweep.decoding.session import decode_session
    from s1sweep.spec import DecodeStage
    from s1sweep.stages.contract import Item
    from tests.helpers import compose

    config = compose(
        "train=none",
        "task=file",
        "task.name=letters",
        f"task.path={out}/questions.jsonl",
        "task.grader=math",
        "sampling=sampled",
        f"sampling.samples={SAMPLES}",
        f"method.max_thinking_tokens={length + 1}",
    )[0].cell
    spec = DecodeStage(
        model=config.model,
        task=config.task,
        method=config.method,
        extrapolation=config.extrapolation,
        sampling=config.sampling,
    )
    at_import = peak()
    started = time.perf_counter()
    engine = Script(length)
    with decode_session(engine) as runner:
        ((_, done),) = serve(runner, [Item(spec, {}, Path(out))], engine, Letters())
    if isinstance(done, Exception):
        raise done
    pipe.send(
        {
            "thinking_tokens": round(done.summary["mean_thinking_tokens"]),
            "readouts": done.summary["readouts"],
            "peak_mib": round(peak(), 1),
            "peak_mib_after_imports": round(at_import, 1),
            "seconds": round(time.perf_counter() - started, 1),
            "readouts_file_mib": round((Path(out) / READOUTS).stat().st_size / 2**20, 1),
        }
    )


def apart(questions: int, length: int) -> dict[str, Any]:
    """`run` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="s1sweep-bench-") as temp:
        with (Path(temp) / "questions.jsonl").open("w") as f:
            for i in range(questions):
                f.write(json.dumps({"id": f"q{i}", "question": f"question number {i}", "answer": "1"}) + "\n")
        here, there = context.Pipe()
        process = context.Process(target=run, args=(questions, length, temp, there))
        process.start()
        there.close()
        try:
            found: dict[str, Any] = here.recv()
        except EOFError:
            raise SystemExit(f"the session of {length} tokens died") from None
        process.join()
        return found


def measure(_: int, questions: int, length: int) -> dict[str, Any]:
    """The session, with twice the length, and with half the questions."""
    session, longer, fewer = apart(questions, length), apart(questions, 2 * length), apart(questions // 2, length)
    under_way = min(UNITS, questions * SAMPLES)
    return {
        "questions": questions,
        "samples": SAMPLES,
        "session": session,
        "session_of_twice_the_length": longer,
        "session_of_half_the_questions": fewer,
        "peak_ratio_when_length_doubles": round(longer["peak_mib"] / session["peak_mib"], 4),
        "peak_ratio_when_questions_double": round(session["peak_mib"] / fewer["peak_mib"], 4),
        "samples_under_way": under_way,
        "bytes_per_further_token_under_way": round(
            (longer["peak_mib"] - session["peak_mib"]) * 2**20 / (under_way * length)
        ),
        "bytes_per_further_sample": round(
            (session["peak_mib"] - fewer["peak_mib"]) * 2**20 / ((questions - questions // 2) * SAMPLES)
        ),
    }


if __name__ == "__main__":
    main("decode_memory", measure, questions=10_000, length=2_000)
