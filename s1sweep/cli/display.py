"""Progress of a run: a live panel on a terminal, plain lines elsewhere. Reads; decides nothing."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from s1sweep.planning import KINDS, Plan, Stage
from s1sweep.runtime.work import Progress, Watcher

_PLAIN_EVERY = 10.0  # seconds between plain lines while stages end
_SILENT = 60.0  # and while none does


class Display:
    """Shows a `Progress` as it changes."""

    def __init__(self, plan: Plan, stages: Mapping[str, Stage]) -> None:
        self._plan, self._stages = plan, stages
        self._started = time.monotonic()
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True) if sys.stderr.isatty() else None
        self._said = -_PLAIN_EVERY
        self._last_done = -1
        self._rate = 0.0
        self._rate_at = (time.monotonic(), 0.0)

    def __enter__(self) -> Watcher:
        if self._live:
            self._live.start()
        return self.update

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        now = time.monotonic()
        finished = not progress.waiting and not progress.running
        if self._live:
            self._measure(progress)
            self._live.update(self._panel(progress))
        elif finished or now - self._said >= (_PLAIN_EVERY if len(progress.done) != self._last_done else _SILENT):
            self._said, self._last_done = now, len(progress.done)
            self._measure(progress)
            print(self._line(progress), file=sys.stderr, flush=True)

    def _measure(self, progress: Progress) -> None:
        """Tokens per second over the last seconds."""
        at, total = time.monotonic(), progress.made
        before, old = self._rate_at
        if at - before >= 3:
            self._rate, self._rate_at = max(0.0, (total - old) / (at - before)), (at, total)

    def _counts(self, progress: Progress) -> dict[str, Any]:
        done = set(progress.done)
        missing = set(self._stages) - done
        cells = sum(cell.stages["grade"] not in missing for cell in self._plan.cells)
        elapsed = time.monotonic() - self._started
        return {
            "cells": cells,
            "elapsed": elapsed,
            "left": progress.seconds_left(time.monotonic()),
            "running": Counter(self._stages[name].kind for name in progress.running),
        }

    def _line(self, progress: Progress) -> str:
        c = self._counts(progress)
        running = ", ".join(f"{n} {kind}" for kind, n in sorted(c["running"].items())) or "nothing"
        failed = f", {len(progress.failed)} failed" if progress.failed else ""
        rate = f", {self._rate:,.0f} tokens/s" if self._rate else ""
        left = f", about {_clock(c['left'])} left" if c["left"] else ""
        return (
            f"[{_clock(c['elapsed'])}] stages {len(progress.done)}/{len(self._stages)}, "
            f"cells {c['cells']}/{len(self._plan.cells)}{failed}; running {running}{rate}{left}"
        )

    def _panel(self, progress: Progress) -> Group:
        c = self._counts(progress)
        table = Table.grid(padding=(0, 2))
        done = Counter(self._stages[name].kind for name in progress.done)
        total = Counter(stage.kind for stage in self._stages.values())
        for kind in KINDS:
            if total[kind]:
                bar = ProgressBar(total=total[kind], completed=done[kind], width=30)
                active = f"{c['running'][kind]} running" if c["running"][kind] else ""
                table.add_row(kind, bar, f"{done[kind]}/{total[kind]}", Text(active, style="cyan"))
        return Group(table, Text(self._line(progress), style="dim"))


def _clock(seconds: float | None) -> str:
    minutes, rest = divmod(round(seconds or 0), 60)
    return f"{minutes}:{rest:02d}"
