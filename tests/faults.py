"""Faults at a chosen moment: a scripted vLLM that fails at any of its calls, and a disk that is full at any write."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from s1sweep.decoding import segments
from s1sweep.decoding.engines import Sampling
from s1sweep.decoding.engines.steps import StepLoop
from s1sweep.decoding.engines.vllm import VllmEngine
from tests.helpers import ScriptedEngine


def no_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Faults:
    """Counts the moments at which something can fail, and lets `happen` happen at number `at`, or from it on."""

    def __init__(self, happen: Callable[[], None] = no_space, at: int = 0, lasting: bool = False) -> None:
        self.count = 0
        self._happen, self._at, self._lasting = happen, at, lasting

    def moment(self) -> None:
        self.count += 1
        if self.count == self._at or (self._lasting and self.count > self._at > 0):
            self._happen()


class ScriptedVllm(VllmEngine):
    """The engine over a vLLM whose tokens are a script's, and come so many a step."""

    def __init__(self, script: ScriptedEngine, faults: Faults, weights: str) -> None:
        self.vllm = ScriptedLLM(script, faults)
        self._llm: Any = self.vllm
        self._steps = StepLoop(self.vllm)
        self._fingerprint = {"engine": "scripted"}
        self._parameters: Any = SimpleNamespace
        self._max_len = 10_000
        self._weights = weights


class ScriptedLLM:
    """What `VllmEngine` uses of vLLM's `LLM` and of the parts within. After half a step its tokens are wrong."""

    def __init__(self, script: ScriptedEngine, faults: Faults, tokens_a_step: int = 16) -> None:
        self.llm_engine = self.engine_core = self.model_executor = self._finalizer = self
        self.script, self.faults, self.closed = script, faults, False
        self.under_way: dict[str, tuple[Any, int]] = {}
        self._a_step = tokens_a_step
        self._wrong = 0

    def add_request(self, name: str, prompt: dict[str, Any], params: Any, *, priority: int) -> None:
        assert not self.closed
        ids = prompt["prompt_token_ids"]
        if wanted := getattr(params, "logprob_token_ids", None):
            sure = wanted[(sum(ids) + self._wrong) % len(wanted)]
            said = {i: SimpleNamespace(logprob=0.0 if i == sure else -20.0) for i in wanted}
            self.under_way[name] = SimpleNamespace(logprobs=[said]), 1
        else:
            sampling = Sampling(seed=params.seed, min_tokens=params.min_tokens)
            made = self.script.complete(ids, params.max_tokens, params.stop_token_ids, sampling)
            ids = [i + self._wrong for i in made.token_ids] + ([made.stop_id] if made.finish == "stop" else [])
            self.under_way[name] = SimpleNamespace(token_ids=ids, finish_reason=made.finish), len(ids)
        self.faults.moment()  # vLLM may refuse what it has half taken in

    def step(self) -> list[Any]:
        assert not self.closed
        self._wrong = 1
        self.faults.moment()
        self._wrong = 0
        finished = []
        for name, (output, left) in list(self.under_way.items()):
            self.under_way[name] = output, left - self._a_step
            if left <= self._a_step:
                del self.under_way[name]
                finished.append(SimpleNamespace(request_id=name, finished=True, outputs=[output], num_cached_tokens=0))
        return finished

    def abort_request(self, names: Sequence[str]) -> None:
        self.faults.moment()
        for name in names:
            self.under_way.pop(name, None)

    def has_unfinished_requests(self) -> bool:
        return bool(self.under_way)

    def collective_rpc(self, method: str, kwargs: dict[str, str]) -> None:
        """Reload the weights: half of them are the new ones, and then all."""
        self._wrong = 1
        self.faults.moment()

    def apply_model(self, change: Any) -> None:
        self.faults.moment()
        self._wrong = 0

    def reset_prefix_cache(self) -> bool:
        return not self.under_way

    def detach(self) -> None:
        pass

    def shutdown(self) -> None:
        self.closed = True


def fill_disk(monkeypatch: pytest.MonkeyPatch, now: Callable[[], Faults]) -> None:
    """Every file that is opened for writing, written to, closed or moved, and every new folder, is a moment of the
    faults that are meant `now`.
    """
    opened, made, moved = Path.open, Path.mkdir, os.replace

    def open_(path: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        if "r" in mode:
            return opened(path, mode, *more, **named)
        now().moment()
        return _Watched(opened(path, mode, *more, **named), now())

    def mkdir(*arguments: Any, **named: Any) -> None:
        now().moment()
        made(*arguments, **named)

    def replace(*arguments: Any, **named: Any) -> None:
        now().moment()
        moved(*arguments, **named)

    class FileIO(io.FileIO):
        def __init__(self, *arguments: Any) -> None:
            now().moment()
            super().__init__(*arguments)

        def write(self, data: Any) -> int:
            half = super().write(data[: len(data) // 2])
            now().moment()
            return half + super().write(data[half:])

    monkeypatch.setattr(Path, "open", open_)
    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(segments, "FileIO", FileIO)


class _Watched:
    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def write(self, data: Any) -> int:
        self._faults.moment()
        return self._file.write(data)

    def close(self) -> None:
        if not self._file.closed:
            self._file.close()
            self._faults.moment()

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
