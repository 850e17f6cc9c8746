"""What sharing is worth: a grid decoded in one session against its cells decoded one after the other.

Grid A is s1's: seven caps, "Wait" one to six times, three other strings. Grid B is dense: caps x ignores x strings.
Three questions each. Is every token that cells share decoded once? Does the time saved follow the tokens saved? Does
sharing slow the engine down beside one flat batch of the same requests?
"""

from __future__ import annotations

from typing import Any

from benchmarks.common import FLAT, Recorder, decode, flat, interleaved, main, one_by_one, ratios, testbed_engine
from s1sweep.spec import CellConfig
from tests.helpers import compose

TASKS = "tiny_calc,tiny_hard"


def cells_of(limit: int, caps: str, ignores: str = "0", strings: str = "''") -> list[CellConfig]:
    return compose(
        "train=none",
        "sampling=greedy",
        f"task={TASKS}",
        f"task.limit={limit}",
        f"method.max_thinking_tokens={caps}",
        f"extrapolation.num_ignore={ignores}",
        f"extrapolation.string={strings}",
    )


def grids(limit: int) -> dict[str, list[CellConfig]]:
    """With no ignored end the string makes no difference, so those cells are one for all strings."""
    caps = "16,48,96,160,256"
    return {
        "A": [
            *cells_of(limit, "8,16,32,64,128,192,256"),
            *cells_of(limit, "256", "1,2,4,6", "Wait"),
            *cells_of(limit, "256", "2", "'',Hmm,Alternatively"),
        ],
        "B": [*cells_of(limit, caps), *cells_of(limit, caps, "1,2,3,4", "Wait,Hmm,Alternatively,'',But,So")],
    }


def measure(pairs: int, weights: str, limit: int, limit_dense: int) -> dict[str, Any]:
    """Each grid in turn, in one process and engine; `weights` is a checkpoint of the testbed's model, or its base."""
    engine, chat = testbed_engine(weights)
    found = {name: _grid(cells, engine, chat, pairs) for name, cells in _sized(limit, limit_dense).items()}
    return {
        "weights": weights or "the testbed's base",
        "tasks": TASKS,
        "grids": found,
        "bars": {"tokens_over_unique": 1.0, "speedup_over_token_ratio": 0.9, "throughput_ratio": 0.95},
        "baseline_one_by_one": "the same vLLM with prefix caching, a session for each cell, cache kept between cells",
        "baseline_flat": FLAT,
    }


def _sized(limit: int, limit_dense: int) -> dict[str, list[CellConfig]]:
    return {"A": grids(limit)["A"], "B": grids(limit_dense)["B"]}


def _grid(cells: list[CellConfig], engine: Any, chat: Any, pairs: int) -> dict[str, Any]:
    recorder = Recorder(engine)
    engine.forget()
    first = decode(cells, recorder, chat)
    batch = flat(recorder, engine)
    unique = recorder.unique_tokens()
    alone: list[int] = []

    def shared() -> float:
        engine.forget()
        got = decode(cells, engine, chat)
        assert (got.decoded, got.readouts) == (first.decoded, first.readouts)
        return got.seconds

    def separate() -> float:
        engine.forget()
        got = one_by_one(cells, engine, chat)
        assert got.readouts == first.readouts, "a cell alone says something else"
        alone.append(got.decoded)
        return got.seconds

    shared()
    apart, together = interleaved(separate, shared, pairs)
    token_ratio = alone[0] / first.decoded
    ours, theirs = interleaved(shared, batch, pairs)
    return {
        "cells": len(cells),
        "questions": sum(cell.cell.task.limit or 0 for cell in cells[:1]) * len(TASKS.split(",")),
        "requests": len(recorder.made),
        "tokens_decoded": first.decoded,
        "tokens_unique": unique,
        "tokens_over_unique": round(first.decoded / unique, 4),
        "tokens_one_by_one": alone[0],
        "token_ratio": round(token_ratio, 3),
        "readouts_equal": True,
        "speedup": ratios(apart, together),
        "speedup_over_token_ratio": ratios([seconds / token_ratio for seconds in apart], together),
        "seconds_one_by_one": [round(v, 2) for v in apart],
        "seconds_shared": [round(v, 2) for v in together],
        "throughput_ratio": ratios(theirs, ours),
        "seconds_shared_beside_flat": [round(v, 2) for v in ours],
        "seconds_flat": [round(v, 2) for v in theirs],
        "shared_tokens_per_second": [round(first.decoded / v) for v in ours],
    }


if __name__ == "__main__":
    main("decode_sharing", measure, weights="", limit=80, limit_dense=8)
