"""A decode session that fails at any moment leaves an engine that the next one can use, or none: the next session on
the same worker gives the tokens that it gives alone, and nothing is left under way.
"""

from __future__ import annotations

import gc
import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import pytest

from s1sweep.decoding import decode, serve, stage
from s1sweep.decoding.engines import vllm
from s1sweep.decoding.readout import READOUTS
from s1sweep.decoding.rows import Rows
from s1sweep.planning import Plan
from s1sweep.runtime.scheduler import Scheduler
from s1sweep.stages.contract import Done, Item
from s1sweep.stages.resources import Resources
from s1sweep.store import PROGRESS, HowFar, Store, same_result, write_progress
from tests.faults import Faults, ScriptedVllm, fill_disk, no_space
from tests.helpers import ROOT, compose
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


def asks() -> list[Item]:
    return items(CELLS)


def judged() -> list[Item]:
    """The same with a reward model, which has an engine of its own."""
    scorer = compose("train=none")[0].cell.scorer
    return [replace(item, spec=item.spec.model_copy(update={"scorer": scorer})) for item in asks()]


def check(ended: Ended, asked: list[Item], right: list[bytes], whole: bool = True) -> None:
    """What is done is right; with `whole`, all is done."""
    done = {item.out: (item.out / READOUTS).read_bytes() for item, done in ended if isinstance(done, Done)}
    for item, readouts in zip(asked, right, strict=True):
        assert done.get(item.out, readouts) == readouts
    assert not whole or len(done) == len(asked), ended


def undisturbed(worker: Worker, asking: Callable[[], list[Item]] = asks) -> list[bytes]:
    asked = asking()
    worker.run(asked)
    return [(item.out / READOUTS).read_bytes() for item in asked]


def in_turn(
    worker: Worker,
    happen: Callable[[], None],
    first: Callable[[], list[Item]] = asks,
    second: Callable[[], list[Item]] = asks,
    traces: Path | None = None,
    lasting: bool = False,
) -> None:
    """A session that fails at its first moment, one that fails at its second, and so on; after each the next one."""
    failing, following = undisturbed(worker, first), undisturbed(worker, second)
    for at in count(1):
        where = traces / str(at) if traces else None
        asked, faults = first(), Faults(happen, at, lasting)
        check(worker.run(asked, faults, where), asked, failing, whole=faults.count < at)
        asked = second()
        check(worker.run(asked, traces=where), asked, following)
        if faults.count < at:
            assert at > 30
            return


def test_undisturbed_sessions_give_the_script(worker: Worker) -> None:
    assert undisturbed(worker) == [readouts for readouts, _ in scratch(CELLS)[0]]
    assert undisturbed(worker, judged) != undisturbed(worker)


@pytest.mark.parametrize("happen", [refuse, interrupt, ctrl_c])
def test_a_session_fails_at_any_call_of_its_engine(worker: Worker, happen: Callable[[], None]) -> None:
    in_turn(worker, happen)


@pytest.mark.parametrize("happen", [refuse, pytest.param(interrupt, marks=pytest.mark.long)])
def test_a_session_with_a_reward_model_fails_at_any_call(worker: Worker, happen: Callable[[], None]) -> None:
    in_turn(worker, happen, judged, judged)


@pytest.mark.parametrize("happen", [refuse, pytest.param(interrupt, marks=pytest.mark.long)])
def test_a_session_of_other_weights_fails_at_any_call(
    worker: Worker, tmp_path: Path, happen: Callable[[], None]
) -> None:
    """Weights that were reloaded in part are never decoded with."""
    in_turn(worker, happen, lambda: [replace(item, inputs={"checkpoint": tmp_path}) for item in asks()])


@pytest.mark.parametrize("lasting", [False, pytest.param(True, marks=pytest.mark.long)])  # on Ray, below, it lasts
def test_a_disk_is_full_at_any_write(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lasting: bool
) -> None:
    """Rows, traces, progress, and what the consumer writes; the next session finds room."""

    class Often(stage.ProgressWriter):
        """Says it whenever a stage ends."""

        def write(self) -> None:
            self._due = 0.0
            super().write()

    monkeypatch.setattr(serve, "ProgressWriter", Often)
    fill_disk(monkeypatch, lambda: worker.faults)
    in_turn(worker, no_space, traces=tmp_path, lasting=lasting)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_session_is_left_after_any_stage(worker: Worker, most: int) -> None:
    right = undisturbed(worker)
    asked = asks()
    check(worker.run(asked, most=most), asked, right, whole=most == 3)
    assert undisturbed(worker) == right
    assert len(worker.started) == 1, "the warm engine is used again"


def test_an_engine_that_does_not_start_is_tried_once_a_session(worker: Worker) -> None:
    asked, faults = asks(), Faults(refuse, at=1, lasting=True)
    ended = worker.run(asked, faults)
    assert [str(done) for _, done in ended] == ["a fault"] * 3 and faults.count == 1
    assert undisturbed(worker) == [readouts for readouts, _ in scratch(CELLS)[0]]


def test_an_engine_that_was_not_handed_back_is_replaced(worker: Worker) -> None:
    """As when a process goes on while the session is held by the traceback of what ended it."""
    right = undisturbed(worker)
    asked = asks()
    held = decode.run_all(asked, Resources())
    check([next(held)], asked, right, whole=False)
    asked = asks()
    check(list(decode.run_all(asked, Resources())), asked, right)
    assert len(worker.started) == 2
    held.close()
    assert undisturbed(worker) == right
    assert len(worker.started) == 2


# --- how stages end, and how far they say they are


def test_a_stage_that_fails_ends_alone(worker: Worker) -> None:
    """Where its rows cannot be written, or its questions cannot be read."""
    right = undisturbed(worker)
    asked = asks()
    (asked[1].out / READOUTS).mkdir()
    ended = dict((item.out, done) for item, done in worker.run(asked))
    assert isinstance(ended[asked[1].out], IsADirectoryError)
    asked = asks()
    asked[0].out.rmdir()
    further = dict((item.out, done) for item, done in worker.run(asked))
    assert isinstance(further[asked[0].out], FileNotFoundError)
    for found in (ended, further):
        assert sum(isinstance(done, Done) for done in found.values()) == 2
    check([(item, further[item.out]) for item in asked], asked, right, whole=False)


def test_nothing_is_decoded_for_stages_that_have_failed(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answered question of three ends the stage, and so the session."""
    worker.run(items((2,)))
    script = worker.started[0].vllm.script
    whole, script.decoded = script.decoded, 0
    monkeypatch.setattr(Rows, "put", lambda *_: no_space())
    assert [type(done) for _, done in worker.run(items((2,)))] == [OSError]
    assert 0 < script.decoded < whole


def test_each_stage_says_how_far_it_is(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[Path, list[HowFar]] = {}

    def tell(out: Path, **far: float) -> None:
        said.setdefault(out, []).append(HowFar(**far))

    monkeypatch.setattr(stage, "write_progress", tell)
    monkeypatch.setattr(stage, "EVERY", 0.0)
    monkeypatch.setattr(stage, "EVERY_STAGE", 0.0)
    asked = asks()
    began = time.time()
    ended = worker.run(asked)
    first, *others = [said.get(item.out, []) for item in asked]
    for item, told in zip(asked, (first, *others), strict=True):
        cases = 3 * item.spec.sampling.samples
        assert {far.total for far in told} <= {cases} and all(a != b for a, b in pairwise(told))
        assert [far.done for far in told] == sorted(far.done for far in told)
    assert {far.tokens for told in others for far in told} == {0}
    assert len({far.done for told in others for far in told}) > 1
    tokens = [far.tokens for far in first]
    last = ended[-1][1]
    assert isinstance(last, Done) and tokens == sorted(tokens) and tokens[-1] == last.cost["decoded_tokens"]
    for _, done in ended:
        assert isinstance(done, Done) and done.started is not None and began <= done.started <= time.time()


def test_shards_say_how_far_their_share_is(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    far: dict[tuple[int, Path], HowFar] = {}
    asked = asks()
    monkeypatch.setattr(stage, "EVERY", 0.0)
    monkeypatch.setattr(stage, "EVERY_STAGE", 0.0)
    for number in range(2):

        def tell(out: Path, number: int = number, **said: float) -> None:
            far[number, out] = HowFar(**said)

        monkeypatch.setattr(stage, "write_progress", tell)
        done = list(decode.run_all(asked, Resources(shard=(number, 2))))
        assert [item for item, end in done if isinstance(end, Done) and not end.summary] == asked
    for item in asked:
        shares = [far[number, item.out] for number in range(2) if (number, item.out) in far]
        assert sum(share.total for share in shares) == 3 * item.spec.sampling.samples
        assert all(share.done == share.total for share in shares)


def test_after_three_shards_a_session_decodes_nothing_and_gives_the_same(worker: Worker, tmp_path: Path) -> None:
    """Each shard in an engine of its own; with real engines under Ray in tests/test_shards.py, which is long."""
    right = undisturbed(worker)
    for number in range(3):
        resources = Resources(traces=str(tmp_path), shard=(number, 3))
        assert all(isinstance(done, Done) for _, done in decode.run_all(asks(), resources))
    asked = asks()
    ended = worker.run(asked, traces=tmp_path)
    check(ended, asked, right)
    assert [done.cost["decoded_tokens"] for _, done in ended if isinstance(done, Done)] == [0] * len(asked)
    assert 1 < len(list(tmp_path.glob("*/*.seg"))) <= 3, "more than one shard had a share, and the session none"


def test_stages_speak_seldom(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asks()
    assert all(isinstance(done, Done) for _, done in decode.run_all(asked, Resources()))
    assert not [item for item in asked if (item.out / PROGRESS).exists()]


# --- the same under Ray

# A worker's disk is full for the readouts of one try, from the fifth write on, and then it is not.
FULL_ONCE = """
import errno, os, pathlib
opened = pathlib.Path.open
tries, written = pathlib.Path({tries!r}), [0]
class File:
    def __init__(self, file):
        self.file = file
    def write(self, data):
        written[0] += 1
        if tries.read_text() == str(os.getpid()) and written[0] >= 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)
    def close(self):
        self.file.close()
def open_(path, mode="r", *more, **named):
    file = opened(path, mode, *more, **named)
    if path.suffix != ".part" or mode != "wb":
        return file
    if not tries.exists():
        tries.write_text(str(os.getpid()))
        written[0] = 0
    elif tries.read_text() == str(os.getpid()) and written[0] >= 5:
        tries.write_text(f"again in {{os.getpid()}}")
    return File(file)
pathlib.Path.open = open_
"""


@pytest.mark.slow
def test_a_disk_of_a_ray_worker_is_full_and_then_is_not(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try is on the same warm worker, and gives what a calm sweep gave."""
    from s1sweep.runtime.ray_backend import RayBackend

    grid = ["train=none", "task=tiny_hard", "task.limit=4", "extrapolation=none,wait", "sampling=greedy,sampled"]
    plan = Plan()
    cells = compose(*grid, "method.max_thinking_tokens=40,150")
    for config in cells:
        plan.add(config.cell, {})
    stages = {name: planned for name, planned in plan.stages.items() if planned.kind == "decode"}
    calm, store = Store(tmp_path / "calm"), Store(root)
    tries, site = tmp_path / "tries", tmp_path / "site"
    tries.write_text("none")
    site.mkdir()
    (site / "sitecustomize.py").write_text(FULL_ONCE.format(tries=str(tries)))
    monkeypatch.setenv("PYTHONPATH", f"{site}:{ROOT}")
    backend = RayBackend(cells[0].placement, cpus=1)
    try:
        Scheduler(calm, backend, cells[0].placement).run(stages, {})
        tries.unlink()
        progress = Scheduler(store, backend, cells[0].placement).run(stages, {})
    finally:
        backend.close()
    assert len(progress.done) == len(stages) == 8 and not progress.failed
    said, _, pid = tries.read_text().rpartition(" ")
    assert said == "again in" and pid.isdigit()
    for name in stages:
        record, undisturbed = store.record(name), calm.record(name)
        assert record and undisturbed and same_result(record, undisturbed)
