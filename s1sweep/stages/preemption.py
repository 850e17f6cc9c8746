"""Asked to go, with grace: by SIGTERM, or by a stop file in the stage's folder, which reaches a worker on any node.

Who is asked finishes the step, saves, and raises `Preempted`. A signal handler can only be set in a process's main
thread; `mind` is called there by whoever launches ranks, and `heeding` where a rank runs.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STOP = "stop"
EVERY = 2.0  # seconds between looks at the stop file

_asked = threading.Event()
_file: Path | None = None
_looked = 0.0


class Preempted(Exception):
    """The machine was asked for; what was done is saved, and another attempt goes on from there."""


def on_sigterm() -> Any:
    """From now on SIGTERM asks instead of killing. Returns the handler that was there; None outside a main thread."""
    if threading.current_thread() is not threading.main_thread():
        return None
    _asked.clear()
    return signal.signal(signal.SIGTERM, lambda *_: _asked.set())


@contextmanager
def watching_stop_file(config: Mapping[str, Any]) -> Iterator[None]:
    """A rank of an attempt that writes in `config["out"]` heeds the stop file beside it."""
    global _file, _looked
    _file, _looked = (Path(config["out"]).parent / STOP if "out" in config else None), 0.0
    try:
        yield
    finally:
        _file = None


def stop_requested() -> bool:
    """Whether to go. Cheap enough for every step."""
    global _looked
    if _file is not None and not _asked.is_set() and time.monotonic() - _looked >= EVERY:
        _looked = time.monotonic()
        if _file.exists():
            _asked.set()
    return _asked.is_set()
