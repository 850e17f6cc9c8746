"""A decode session that fails at any moment leaves an engine that the next one can use, or none: the next session on
the same worker gives the tokens that it gives alone, and nothing is left under way.
"""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from itertools import count
from pathlib import Path

import pytest

from s1sweep.decoding import decode, stage
from s1sweep.decoding.engines import vllm
from s1sweep.decoding.readout import READOUTS
from s1sweep.stages.contract import Done, Item
from s1sweep.stages.resources import Resources
from s1sweep.store import write_progress
from tests.faults import Faults, ScriptedVllm, fill_disk, no_space
from tests.test_rows import Characters
from tests.test_segments import Dice, LetterChat, items, scratch

pytestmark = [
    pytest.mark.timeout(120),  # a session that hangs is what this is about
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),  # a coroutine was never awaited
]
CELLS = (0, 3, 8)  # greedy, greedy with an ignored end, sampled
Ended = list[tuple[Item, Done | Exception]]


def refuse() -> None:
    raise RuntimeError("a fault")


def interrupt() -> None:
    raise KeyboardInterrupt


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


class Worker:
    """A process with warm engines over a scripted vLLM."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.faults = Faults()
        self.started: list[ScriptedVllm] = []
        monkeypatch.setattr(vllm, "_warm", {})
        monkeypatch.setattr(vllm, "VllmEngine", self._start)
        monkeypatch.setattr(vllm, "fingerprint", lambda *_: {"engine": "scripted"})
        monkeypatch.setattr(decode, "load_tokenizer", lambda _: Characters())
        monkeypatch.setattr(decode, "Chat", lambda *_: LetterChat())
        monkeypatch.setattr(stage, "EVERY", 0.0)
        monkeypatch.setattr(stage, "EVERY_STAGE", 0.0)

    def _start(self, model: object, weights: str, resources: Resources) -> ScriptedVllm:
        self.faults.moment()
        self.started.append(ScriptedVllm(Dice(), self.faults, weights))
        return self.started[-1]

    def run(self, asked: list[Item], faults: Faults | None = None, traces: Path | None = None, most: int = 99) -> Ended:
        """What a session yields until it ends, however; it is left after `most` stages.

        As a worker does, the consumer writes something of each stage that is done.
        """
        self.faults = faults or Faults()
        for engine in self.started:
            engine.vllm.faults = self.faults
        ended: Ended = []
        try:
            with closing(decode.run_all(asked, Resources(traces=str(traces) if traces else None))) as stages:
                for item, done in stages:
                    ended.append((item, done))
                    if isinstance(done, Done):
                        write_progress(item.out, done=1, total=1)
                    if len(ended) == most:
                        break
        except (OSError, RuntimeError, KeyboardInterrupt) as error:
            assert "a fault" in str(error) or not isinstance(error, RuntimeError), error
        for engine in self.started:  # nothing is under way
            assert engine.vllm.closed or (engine.idle and not engine.vllm.under_way)
        return ended


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Worker]:
    with caplog.at_level(logging.ERROR, "asyncio"):
        yield Worker(monkeypatch)
        gc.collect()
    assert not [said for r in caplog.records if "was destroyed" in (said := r.getMessage())]


@cache
def expected() -> list[bytes]:
    return [readouts for readouts, _ in scratch(CELLS)[0]]


def check(ended: Ended, asked: list[Item], whole: bool = True) -> None:
    """What is done is right; with `whole`, all is done."""
    done = {item.out: (item.out / READOUTS).read_bytes() for item, done in ended if isinstance(done, Done)}
    for item, readouts in zip(asked, expected(), strict=True):
        assert done.get(item.out, readouts) == readouts
    assert not whole or len(done) == len(asked), ended


def in_turn(worker: Worker, happen: Callable[[], None], lasting: bool = False, **more: Path) -> None:
    """A session that fails at its first moment, one that fails at its second, and so on; after each the next one."""
    for at in count(1):
        asked = items(CELLS)
        faults = Faults(happen, at, lasting)
        check(worker.run(asked, faults, **more), asked, whole=faults.count < at)
        asked = items(CELLS)
        check(worker.run(asked, **more), asked)
        if faults.count < at:
            assert at > 30
            return


@pytest.mark.parametrize("happen", [refuse, no_space, interrupt, ctrl_c])
def test_a_session_fails_at_any_call_of_its_engine(worker: Worker, happen: Callable[[], None]) -> None:
    in_turn(worker, happen)


@pytest.mark.parametrize("lasting", [False, True])
def test_a_disk_is_full_at_any_write(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lasting: bool
) -> None:
    """Rows, traces, progress, and what the consumer writes."""
    fill_disk(monkeypatch, lambda: worker.faults)
    in_turn(worker, no_space, lasting, traces=tmp_path)
