"""SIGTERM with grace: who is told to go finishes the step, saves, and raises `Preempted`.

A signal handler can only be set in a process's main thread; `mind` is called there by whoever launches ranks.
"""

from __future__ import annotations

import signal
import threading
from typing import Any

_asked = threading.Event()


class Preempted(Exception):
    """The machine was asked for; what was done is saved, and another attempt goes on from there."""


def mind() -> Any:
    """From now on SIGTERM asks instead of killing. Returns the handler that was there; None outside a main thread."""
    if threading.current_thread() is not threading.main_thread():
        return None
    _asked.clear()
    return signal.signal(signal.SIGTERM, lambda *_: _asked.set())


def asked() -> bool:
    return _asked.is_set()
