"""A decode session owns its engines: it hands them back as the next session wants to find them, or closed.

Knows event loops and engines; no stage, no question and no file.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from s1sweep.decoding.engines import Engine

_COLLECT_EVERY = 20_000  # new objects between collections: thousands of waiting cases make each one slow


@contextmanager
def decode_session(*engines: Engine) -> Iterator[asyncio.Runner]:
    """An event loop to decode on. However the block ends, all that is under way on the loop is cancelled and awaited,
    and then every engine is released.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(_COLLECT_EVERY, *thresholds[1:])
    ended_by = None
    try:
        with asyncio.Runner() as runner:
            try:
                yield runner
            except BaseException as error:
                ended_by = error
                raise
            finally:
                try:
                    _cancel(runner, ended_by)
                finally:
                    runner.run(_release(engines))
    finally:
        gc.set_threshold(*thresholds)


def _cancel(runner: asyncio.Runner, ended_by: BaseException | None) -> None:
    """End all that is under way on the loop."""
    while under_way := asyncio.all_tasks(runner.get_loop()):
        for task in under_way:
            task.cancel()
        try:
            runner.run(_ended(under_way))
        except (KeyboardInterrupt, SystemExit) as error:
            if error is not ended_by:  # one that came up in a task comes up again in each that awaits it
                raise
        except RuntimeError:  # and after it the loop may stop once more before its time
            if not isinstance(ended_by, KeyboardInterrupt | SystemExit):
                raise


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


async def _release(engines: tuple[Engine, ...]) -> None:
    async with AsyncExitStack() as stack:
        for engine in engines:
            stack.push_async_callback(engine.release)
