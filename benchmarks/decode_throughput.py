"""Decoding through traces and methods against one flat `LLM.generate` call of the very same requests.

The requests that one decode session makes are recorded, then given to vLLM as one batch with their exact lengths, so
both
decode the same tokens from the same prompts. The session cannot know the answers' prompts before thinking ends; the
batch can, which is in its favour.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import interleaved, main, ratios

TASKS = "tiny_calc,tiny_hard,tiny_choice"


def measure(pairs: int) -> dict[str, Any]:
    """Tokens per second of each, and their ratio pair by pair, in one process and engine."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm import SamplingParams

    from s1sweep.decoding.chat import Chat, load_tokenizer
    from s1sweep.decoding.decode import drive, serve
    from s1sweep.decoding.engine import Completion, Sampling
    from s1sweep.decoding.vllm_engine import VllmEngine
    from s1sweep.runtime.job import Item, Resources
    from s1sweep.sources import model_path
    from s1sweep.spec import DecodeStage
    from tests.helpers import compose

    cells = [c.cell for c in compose("train=none", f"task={TASKS}", "extrapolation=none,wait", "sampling=greedy")]
    model = cells[0].model
    engine = VllmEngine(model, model_path(model), Resources(threads=1, kv_cache_mb=256))
    chat = Chat(model, load_tokenizer(model))
    requests: list[tuple[tuple[int, ...], int]] = []

    class Recorder:
        async def generate(
            self, prompt_ids: Sequence[int], max_tokens: int, stop_ids: Sequence[int], sampling: Sampling
        ) -> Completion:
            got = await engine.generate(prompt_ids, max_tokens, stop_ids, sampling)
            requests.append((tuple(prompt_ids), len(got.token_ids) + (got.finish == "stop")))
            return got

    def session(through: Any) -> float:
        engine._llm.reset_prefix_cache()
        with tempfile.TemporaryDirectory() as temp:
            items = []
            for i, cell in enumerate(cells):
                out = Path(temp) / str(i)
                out.mkdir()
                spec = DecodeStage(
                    model=cell.model,
                    task=cell.task,
                    method=cell.method,
                    extrapolation=cell.extrapolation,
                    sampling=cell.sampling,
                )
                items.append(Item(spec, {}, out))
            started = time.perf_counter()
            for _, done in drive(serve(items, through, chat)):
                if isinstance(done, Exception):
                    raise done
            return time.perf_counter() - started

    session(Recorder())
    tokens = sum(made for _, made in requests)
    prompts = [{"prompt_token_ids": list(prompt)} for prompt, _ in requests]
    params = [
        SamplingParams(temperature=0.0, max_tokens=made, min_tokens=made, ignore_eos=True, detokenize=False)
        for _, made in requests
    ]

    def ours() -> float:
        return tokens / session(engine)

    def flat() -> float:
        engine._llm.reset_prefix_cache()
        started = time.perf_counter()
        made = engine._llm.generate(prompts, params, use_tqdm=False)
        seconds = time.perf_counter() - started
        assert sum(len(o.outputs[0].token_ids) for o in made) == tokens
        return tokens / seconds

    asyncio.set_event_loop(None)
    flat()
    mine, theirs = interleaved(ours, flat, pairs)
    return {
        "requests": len(requests),
        "tokens": tokens,
        "throughput_ratio": ratios(mine, theirs),
        "tokens_per_second": [round(v) for v in mine],
        "baseline": "LLM.generate on one flat batch of the same prompts and lengths",
        "baseline_tokens_per_second": [round(v) for v in theirs],
        "bar": 0.95,
    }


if __name__ == "__main__":
    main("decode_throughput", measure)
