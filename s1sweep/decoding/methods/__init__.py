"""Control methods, one file each: a coroutine over a trace, written as if it ran alone.

A method reads `await trace.upto(n)`, branches with injected ids, and asks for an answer. It knows no engine, no
batching, no
sharing and no files. To add one: a file with `VERSION` and `run`, a spec in `s1sweep.spec`, a line below, a YAML in
conf/method.
"""

from __future__ import annotations

from types import ModuleType

from s1sweep.decoding.methods import budget_forcing

METHODS: dict[str, ModuleType] = {"budget_forcing": budget_forcing}
