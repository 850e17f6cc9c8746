"""Requests of many coroutines to an engine that advances in steps, such as vLLM's `LLMEngine`.

Whoever asks first steps the engine on its own event loop, until nobody waits any more. Knows no tokens and no
parameters: what is asked and answered passes through.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any, Protocol


class SteppedEngine(Protocol):
    """The part of vLLM's `LLMEngine` that is used. A step's outputs have `request_id` and `finished`."""

    def add_request(self, request_id: str, prompt: Any, params: Any, *, priority: int) -> Any: ...

    def step(self) -> Sequence[Any]: ...

    def abort_request(self, request_ids: list[str]) -> None: ...

    def has_unfinished_requests(self) -> bool: ...


class StepLoop:
    """One event loop at a time; `release` lets go of it."""

    def __init__(self, engine: SteppedEngine) -> None:
        self._engine = engine
        self._numbers = itertools.count()
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._given_up: list[str] = []
        self._stepping: asyncio.Task[None] | None = None
        self._error: BaseException | None = None

    async def request(self, prompt: Any, params: Any, priority: int = 0) -> Any:
        """The output that finishes the request. Raises RuntimeError once a step has failed."""
        if self._error is not None:
            raise RuntimeError(f"the engine failed before this request: {self._error}") from self._error
        name = str(next(self._numbers))
        future = self._waiting[name] = asyncio.get_running_loop().create_future()
        try:
            self._engine.add_request(name, prompt, params, priority=priority)
            if self._stepping is None or self._stepping.done():
                self._stepping = asyncio.create_task(self._run())
            return await future
        except BaseException:
            self._waiting.pop(name, None)
            self._given_up.append(name)
            raise

    @property
    def idle(self) -> bool:
        """Whether any event loop may ask: nothing is under way, and no step has failed."""
        return not (self._waiting or self._given_up or self._error)

    def release(self) -> bool:
        """Abort what is unfinished, after the event loop has ended all that asked. False: the engine has failed."""
        self._given_up += self._waiting
        self._waiting.clear()
        self._stepping = None
        try:
            self._abort()
            if self._error is None and self._engine.has_unfinished_requests():
                self._error = RuntimeError("the engine kept requests that were aborted")
        except Exception as error:
            self._error = error
        return self._error is None

    def close(self) -> None:
        """Let go of the engine; requests are refused from now on."""
        self._error = self._error or RuntimeError("it is closed")
        del self._engine

    async def _run(self) -> None:
        try:
            while self._waiting:
                for output in self._step():
                    if output.finished:
                        future = self._waiting.pop(output.request_id, None)
                        if future is not None and not future.done():
                            future.set_result(output)
                # A finished request wakes its readers, who ask for more a few hops later; let them join the next step.
                for _ in range(6):
                    await asyncio.sleep(0)
        except Exception as error:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(error)
        finally:
            for future in self._waiting.values():
                future.cancel()  # or who waits would wait for ever
            self._waiting.clear()

    def _step(self) -> Sequence[Any]:
        try:
            self._abort()
            return self._engine.step()
        except BaseException as error:
            self._error = error  # what half a step has left in the engine's caches nobody knows
            raise

    def _abort(self) -> None:
        if self._given_up and self._error is None:
            self._engine.abort_request(self._given_up)
            self._given_up = []
