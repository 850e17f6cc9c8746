"""Control methods, one file each: a coroutine over traces, written as if it ran alone.

A method gets its spec, the extrapolation, and a `Case`: `case.think()` opens a trace, `await trace.upto(n)` reads it,
`trace.branch(cut, ids)` goes on after an ignored end, `await trace.answer(...)` takes an answer. It knows no engine, no
batching, no sharing and no files. To add one: a file with `VERSION` and `run`, a spec in `s1sweep/spec/control.py`, a
line below, a YAML in conf/method.
"""

from __future__ import annotations

from types import ModuleType

from s1sweep.decoding.methods import (
    budget_forcing,
    conditional,
    no_thinking,
    nowait,
    rebase,
    rejection,
    sets,
    step_conditional,
    vllm_native,
)

METHODS: dict[str, ModuleType] = {
    "budget_forcing": budget_forcing,
    "token_conditional": conditional,
    "step_conditional": step_conditional,
    "class_conditional": conditional,
    "rejection": rejection,
    "no_thinking": no_thinking,
    "nowait": nowait,
    "vllm_native": vllm_native,
    "sets": sets,
    "rebase": rebase,
}
