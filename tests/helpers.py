"""What several tests need: cells from overrides, a scripted engine, stages that do nothing."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from s1sweep.compose import cells_of
from s1sweep.decoding.engines import Completion, Sampling
from s1sweep.spec import CellConfig
from s1sweep.stages.rows import ROWS

ROOT = Path(__file__).parent.parent


def compose(*overrides: str) -> list[CellConfig]:
    """The cells of a command line, in order. Composing takes a third of a second, so the same choices are composed
    once in a process and folder; the store is the test's own.
    """
    if any("placement.root" in override for override in overrides):
        return cells_of(["-m", *overrides])
    root = {"root": os.environ.get("S1SWEEP_ROOT", "s1sweep-out")}
    configs = _composed(overrides, os.getcwd())
    own = {id(config.placement): config.placement.model_copy(update=root) for config in configs}  # equal parts are one
    return [config.model_copy(update={"placement": own[id(config.placement)]}) for config in configs]


@cache
def _composed(overrides: tuple[str, ...], _folder: str) -> tuple[CellConfig, ...]:
    return tuple(cells_of(["-m", *overrides]))


def bare(key: str) -> dict[str, Any]:
    """A cell of a sweep's list of which only the key matters, as JSON."""
    return {"key": key, "stages": {}}


def cli(
    *arguments: str, root: Path, timeout: float = 400, apart: bool | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the s1sweep command as a user would, `apart` in a process of its own.

    A process of its own takes seconds to import what it needs, and an engine more. So, unless told, only commands that
    start other processes, or want another environment, have one; the rest share this one, and its warm engine.
    """
    if apart is None:
        apart = bool(env) or (arguments[0] in APART and not HERE.intersection(arguments))
    if not apart:
        return _here(arguments, root)
    return subprocess.run(
        [sys.executable, "-m", "s1sweep.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=cli_env(root, **env),
        cwd=root.parent,
    )


HERE = {"placement=inprocess", "placement.backend=inprocess"}
APART = ("run", "serve", "submit", "launch", "doctor", "prefetch")


def _here(arguments: Sequence[str], root: Path) -> subprocess.CompletedProcess[str]:
    """The command in this process, with what it prints and how it exits."""
    from s1sweep.cli import main

    out, err, code = io.StringIO(), io.StringIO(), 0
    with mock.patch.dict(os.environ, cli_env(root)), chdir(root.parent), redirect_stdout(out), redirect_stderr(err):
        try:
            main(list(arguments), prog_name="s1sweep")
        except SystemExit as ended:
            code = int(ended.code or 0)
        except Exception:
            traceback.print_exc(file=err)
            code = 1
    return subprocess.CompletedProcess(["s1sweep", *arguments], code, out.getvalue(), err.getvalue())


def cli_env(root: Path, **env: str) -> dict[str, str]:
    return {**os.environ, "S1SWEEP_ROOT": str(root), "COLUMNS": "120", "PYTHONPATH": str(ROOT), **env}


def below(pid: int) -> list[tuple[psutil.Process, str]]:
    """Processes below one, each with its command line; one that ends meanwhile is left out."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            found.append((process, " ".join(process.cmdline())))
    return found


class ScriptedEngine:
    """An engine whose stream after a prefix is a function of the prefix: planted tokens, and a count of what it made.

    `stream(prompt)` gives the tokens that would follow, stop ids included.
    """

    def __init__(self, stream: Callable[[tuple[int, ...]], Sequence[int]], context: int = 10_000) -> None:
        self.stream = stream
        self.context = context
        self.decoded = 0
        self.released = 0
        self.requests: list[tuple[tuple[int, ...], int, Sampling]] = []

    def fingerprint(self) -> dict[str, str]:
        return {"engine": "scripted"}

    async def generate(
        self, prompt_ids: Sequence[int], max_tokens: int, stop_ids: Sequence[int], sampling: Sampling
    ) -> Completion:
        return self.complete(prompt_ids, max_tokens, stop_ids, sampling)

    def complete(
        self, prompt_ids: Sequence[int], max_tokens: int, stop_ids: Sequence[int], sampling: Sampling
    ) -> Completion:
        prompt = tuple(prompt_ids)
        self.requests.append((prompt, max_tokens, sampling))
        room = self.context - len(prompt)
        out: list[int] = []
        if room < 1:
            return Completion((), "context")
        for token in self.stream(prompt):
            if token in stop_ids:
                if len(out) < sampling.min_tokens:
                    continue  # a banned stop: the model takes its next choice
                self.decoded += len(out) + 1
                return Completion(tuple(out), "stop", token, len(prompt))
            out.append(token)
            if len(out) == min(max_tokens, room):
                break
        self.decoded += len(out)
        return Completion(tuple(out), "length" if len(out) == max_tokens else "context", None, len(prompt))

    async def release(self) -> None:
        self.released += 1

    async def next_logprobs(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> tuple[float, ...]:
        """Sure of the first of the tokens where the script says it comes next, else of the last."""
        following = next(iter(self.stream(tuple(prompt_ids))), None)
        return tuple(0.0 if token == following else -20.0 for token in token_ids)


def write_subset(config: CellConfig, out: Path) -> None:
    """The rows that the cell's training would be given, in `out`, as its `select` stage leaves them."""
    from s1sweep.planning import Plan

    plan = Plan()
    planned = plan.add(config.cell, {})
    out.mkdir(parents=True, exist_ok=True)
    with (out / ROWS).open("w", encoding="utf-8") as f:
        f.writelines(entry.read().model_dump_json() + "\n" for entry in plan.subsets[planned.stages["select"]])
