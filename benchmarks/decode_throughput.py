"""Decoding through traces and methods against one flat `LLM.generate` call of the very same requests.

The requests that one decode session makes are recorded, then given to vLLM as one batch with their exact lengths, so
both decode the same number of tokens from the same prompts. The session cannot know the answers' prompts before
thinking ends; the batch can, which is in its favour.
"""

from __future__ import annotations

from typing import Any

from benchmarks.common import FLAT, Recorder, decode, flat, interleaved, main, ratios, testbed_engine
from tests.helpers import compose

TASKS = "tiny_calc,tiny_hard,tiny_choice"


def measure(pairs: int) -> dict[str, Any]:
    """Tokens per second of each, and their ratio pair by pair, in one process and engine."""
    cells = compose("train=none", f"task={TASKS}", "extrapolation=none,wait", "sampling=greedy")
    engine, chat = testbed_engine()
    recorder = Recorder(engine)
    decode(cells, recorder, chat)
    tokens = recorder.tokens
    batch = flat(recorder, engine)
    batch()

    def session() -> float:
        engine.forget()
        found = decode(cells, engine, chat)
        assert found.decoded == tokens
        return tokens / found.seconds

    mine, theirs = interleaved(session, lambda: tokens / batch(), pairs)
    return {
        "requests": len(recorder.made),
        "tokens": tokens,
        "throughput_ratio": ratios(mine, theirs),
        "tokens_per_second": [round(v) for v in mine],
        "baseline": FLAT,
        "baseline_tokens_per_second": [round(v) for v in theirs],
        "bar": 0.95,
    }


if __name__ == "__main__":
    main("decode_throughput", measure)
