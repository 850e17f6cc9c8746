"""What sharing is worth: a grid decoded in one session against its cells decoded one after the other.

Grid A is s1's: seven caps, "Wait" one to six times, three other strings. Grid B is dense: caps x ignores x strings.
Of each: is every token that cells share decoded once? Does the time saved follow the tokens saved? Does
sharing slow the engine down beside one flat batch of the same requests?
"""

from __future__ import annotations

from typing import Any

from benchmarks.common import FLAT, Recorder, decode, flat, interleaved, main, one_by_one, ratios, testbed_engine
from s1sweep.sources.tasks import questions
from s1sweep.spec import CellConfig
from tests.helpers import compose

STRINGS = "Wait,Hmm,Alternatively,'',But,So"


def _cells(asked: tuple[str, ...], caps: str, ignores: str = "0", strings: str = "''") -> list[CellConfig]:
    return compose(
        "train=none",
        "sampling=greedy",
        *asked,
        f"method.max_thinking_tokens={caps}",
        f"extrapolation.num_ignore={ignores}",
        f"extrapolation.string={strings}",
    )


def grid_a(*asked: str) -> list[CellConfig]:
    """s1's 14 cells."""
    return [
        *_cells(asked, "8,16,32,64,128,192,256"),
        *_cells(asked, "256", "1,2,4,6", "Wait"),
        *_cells(asked, "256", "2", "'',Hmm,Alternatively"),
    ]


def grid_b(*asked: str) -> list[CellConfig]:
    """5 caps x 5 ignores x 6 strings: 125 cells, because with no ignored end the string makes no difference."""
    caps = "16,48,96,160,256"
    return [*_cells(asked, caps), *_cells(asked, caps, "1,2,3,4", STRINGS)]


def measure(
    pairs: int,
    weights: str,
    layers: int,
    tasks: str,
    limit: int,
    tasks_dense: str,
    limit_dense: int,
    limit_dense_flat: int,
) -> dict[str, Any]:
    """Each grid in turn, in one process and engine; `weights` is a checkpoint of the testbed's model, or its base.

    The limits are the questions of each task for grid A and for grid B, which is dense; 0 leaves the grid out. Beside
    the flat batch grid B has more questions, so that it fills the engine too: cell by cell they would take hours.
    `layers` are added that change no token: with 20 a step is as deep as Qwen2.5-0.5B's, though as narrow as before.
    """
    engine, chat = testbed_engine(weights, layers)
    found = {}
    for name, grid, asked, most, flat_most in (
        ("A", grid_a, tasks, limit, limit),
        ("B", grid_b, tasks_dense, limit_dense, limit_dense_flat),
    ):
        if most:
            cells, more = (grid(f"task={asked}", f"task.limit={n}") for n in (most, flat_most))
            found[name] = {"tasks": asked, **_apart(cells, engine, chat, pairs), **_flat(more, engine, chat, pairs)}
    worst = {
        "tokens_over_unique": max(one["tokens_over_unique"] for one in found.values()),
        "speedup_over_token_ratio": min(one["speedup_over_token_ratio"]["median"] for one in found.values()),
        "throughput_ratio": min(one["throughput_ratio"]["median"] for one in found.values()),
    }
    return {
        **worst,
        "weights": weights or "the testbed's base",
        "layers_added": layers,
        "grids": found,
        "bars": {"tokens_over_unique": 1.0, "speedup_over_token_ratio": 0.9, "throughput_ratio": 0.95},
        "baseline_one_by_one": "the same vLLM with prefix caching, a session for each cell, cache kept between cells",
        "baseline_flat": FLAT,
    }


def _questions(cells: list[CellConfig]) -> int:
    return sum({config.cell.task.name: len(questions(config.cell.task)) for config in cells}.values())


def _apart(cells: list[CellConfig], engine: Any, chat: Any, pairs: int) -> dict[str, Any]:
    """Together against one cell after the other."""
    recorder = Recorder(engine)
    engine.forget()
    first = decode(cells, recorder, chat)
    unique = recorder.unique_tokens()
    alone: list[int] = []
    equal: list[bool] = []

    def shared() -> float:
        engine.forget()
        got = decode(cells, engine, chat)
        equal.append((got.decoded, got.readouts) == (first.decoded, first.readouts))
        return got.seconds

    def separate() -> float:
        engine.forget()
        got = one_by_one(cells, engine, chat)
        equal.append(got.readouts == first.readouts)
        alone.append(got.decoded)
        return got.seconds

    shared()
    apart, together = interleaved(separate, shared, pairs)
    token_ratio = alone[0] / first.decoded
    return {
        "cells": len(cells),
        "questions": _questions(cells),
        "requests": len(recorder.made),
        "tokens_decoded": first.decoded,
        "tokens_unique": unique,
        "tokens_over_unique": round(first.decoded / unique, 4),
        "tokens_one_by_one": alone[0],
        "token_ratio": round(token_ratio, 3),
        "readouts_equal": all(equal),
        "speedup": ratios(apart, together),
        "speedup_over_token_ratio": ratios([seconds / token_ratio for seconds in apart], together),
        "seconds_one_by_one": [round(v, 2) for v in apart],
        "seconds_shared": [round(v, 2) for v in together],
    }


def _flat(cells: list[CellConfig], engine: Any, chat: Any, pairs: int) -> dict[str, Any]:
    """Together against one flat batch of the same requests, which waits for nothing and decides nothing."""
    recorder = Recorder(engine)
    engine.forget()
    made = decode(cells, recorder, chat).decoded

    def shared() -> float:
        engine.forget()
        return decode(cells, engine, chat).seconds

    ours, theirs = interleaved(shared, flat(recorder, engine), pairs)
    return {
        "throughput_ratio": ratios(theirs, ours),
        "questions_beside_flat": _questions(cells),
        "tokens_beside_flat": made,
        "seconds_shared_beside_flat": [round(v, 2) for v in ours],
        "seconds_flat": [round(v, 2) for v in theirs],
        "shared_tokens_per_second": [round(made / v) for v in ours],
    }


if __name__ == "__main__":
    main(
        "decode_sharing",
        measure,
        pairs=3,
        weights="",
        layers=20,
        tasks="tiny_calc,tiny_hard,tiny_choice,tiny_dev",
        limit=60,
        tasks_dense="tiny_hard",
        limit_dense=8,
        limit_dense_flat=80,
    )
