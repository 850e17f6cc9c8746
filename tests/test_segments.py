"""Stored blocks over a scripted engine: a later session decodes what is new and no more, and no state of the files
(none, some, all, torn, overwritten, written by two at once) changes a byte of a record.
"""

from __future__ import annotations

import asyncio
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1sweep.decoding import blockfile, decode
from s1sweep.decoding.engines import Completion, Sampling
from s1sweep.decoding.readout import READOUTS
from s1sweep.decoding.segments import Segments
from s1sweep.decoding.serve import serve
from s1sweep.decoding.session import decode_session
from s1sweep.decoding.trace import BLOCK, GREEDY_BLOCK
from s1sweep.spec import DecodeStage
from s1sweep.stages.contract import Done, Item
from s1sweep.stages.resources import Resources, resources
from tests.helpers import ScriptedEngine, compose
from tests.test_decoding import EOS, STOP, THINK_END, Letters

TEMP = tempfile.TemporaryDirectory()  # goes at exit; hypothesis allows no fixture of a test's own
Session = list[tuple[bytes, dict[str, Any]]]  # readouts and summary of each cell


class Dice(ScriptedEngine):
    """Each token is a function of the seed and of all that came before; a stop comes every 150 tokens or so."""

    def __init__(self) -> None:
        super().__init__(self._walk)
        self._seed: int | None = None

    def _walk(self, prompt: tuple[int, ...]) -> Iterator[int]:  # type: ignore[override]
        stop, every = (EOS, 5) if THINK_END in prompt else (STOP, 150)
        state = zlib.crc32(repr(self._seed).encode())
        for i in prompt:
            state = zlib.crc32(i.to_bytes(4, "big"), state)
        while True:
            draw = zlib.crc32(b"draw", state)
            if draw % every == 0:
                yield stop
                draw = zlib.crc32(b"again", draw)
            token = 50 + draw % 40
            yield token
            state = zlib.crc32(token.to_bytes(4, "big"), state)

    async def generate(
        self, prompt_ids: Sequence[int], max_tokens: int, stop_ids: Sequence[int], sampling: Sampling
    ) -> Completion:
        await asyncio.sleep(0)
        return await super().generate(prompt_ids, max_tokens, stop_ids, sampling)

    def complete(
        self, prompt_ids: Sequence[int], max_tokens: int, stop_ids: Sequence[int], sampling: Sampling
    ) -> Completion:
        self._seed = sampling.seed
        return super().complete(prompt_ids, max_tokens, stop_ids, sampling)


class Killed(BaseException):
    pass


class Mortal(Dice):
    """Answers so many requests, and then takes the process with it."""

    def __init__(self, requests: int) -> None:
        super().__init__()
        self.left = requests

    async def generate(self, *args: Any) -> Completion:
        if self.left == 0:
            for _ in range(10):
                await asyncio.sleep(0)  # what was answered arrives
            raise Killed
        self.left -= 1
        return await super().generate(*args)


class LetterChat(Letters):
    think_start, think_stop, answer_stop = (903,), (STOP, EOS), (EOS,)

    def prompt(self, user: str) -> tuple[int, ...]:
        return self.encode(user)


@cache
def grid() -> tuple[DecodeStage, ...]:
    """Caps beyond a block, ignores, strings, greedy and sampled; more samples; another replicate."""
    base = ["train=none", "task=tiny_calc", "task.limit=3", "method.max_answer_tokens=8"]
    greedy = compose(*base, "method.max_thinking_tokens=20,150,1200", "extrapolation=none,wait")
    more = compose(*base, "extrapolation.num_ignore=4", "extrapolation.string='',Hmm")
    drawn = [*base, "sampling=sampled", "method.max_thinking_tokens=20,150"]
    sampled = compose(*drawn, "sampling.samples=2,4", "sampling.replicate=0,1")
    return tuple(
        DecodeStage(model=c.model, task=c.task, method=c.method, extrapolation=c.extrapolation, sampling=c.sampling)
        for c in (config.cell for config in (*greedy, *more, *sampled))
    )


def open_(traces: Path) -> Segments:
    return Segments(traces, {"weights": "w", "engine": "scripted"})


def items(cells: Sequence[int]) -> list[Item]:
    return [Item(grid()[i], {}, Path(tempfile.mkdtemp(dir=TEMP.name))) for i in cells]


def results(stages: Sequence[tuple[Item, Done | Exception]], asked: list[Item]) -> Session:
    found = {}
    for item, done in stages:
        assert isinstance(done, Done), done
        found[item.out] = ((item.out / READOUTS).read_bytes(), dict(done.summary))
    return [found[item.out] for item in asked]


def session(cells: Sequence[int], traces: Path | None, engine: Dice | None = None) -> tuple[Session, dict]:
    """What the cells' records would hold, and the cost that the last of them says."""
    engine, asked = engine or Dice(), items(cells)
    stored = open_(traces) if traces else None
    with decode_session(engine) as runner:
        stages = list(serve(runner, asked, engine, LetterChat(), stored))  # type: ignore[arg-type]
    assert isinstance(stages[-1][1], Done)
    cost = dict(stages[-1][1].cost)
    assert cost["decoded_tokens"] == engine.decoded
    return results(stages, asked), cost


@cache
def scratch(cells: tuple[int, ...]) -> tuple[Session, dict]:
    return session(cells, None)


@cache
def segment() -> bytes:
    """The segment file of one session over the whole grid."""
    with tempfile.TemporaryDirectory() as traces:
        session(ALL, Path(traces))
        (path,) = Path(traces).rglob("*.seg")
        return path.read_bytes()


ALL = tuple(range(16))
CELLS = st.lists(st.sampled_from(ALL), unique=True, min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(first=CELLS, second=CELLS)
def test_a_later_session_decodes_only_what_is_new(first: list[int], second: list[int]) -> None:
    old, new = tuple(first), tuple(second)
    both = scratch((*old, *(c for c in new if c not in old)))[1]["decoded_tokens"]
    with tempfile.TemporaryDirectory() as traces:
        before = session(old, Path(traces))[1]
        found, cost = session(new, Path(traces))
        assert found == scratch(new)[0]
        assert before["decoded_tokens"] + cost["decoded_tokens"] == both
        again, nothing = session((*old, *new), Path(traces))
        assert nothing["decoded_tokens"] == 0
        assert again == [*scratch(old)[0], *scratch(new)[0]]


def test_the_grid_reaches_what_it_is_for() -> None:
    engine = Dice()
    _, cost = session(ALL, None, engine)
    assert len(grid()) == len(ALL)
    assert any(n == GREEDY_BLOCK and s.seed is None for _, n, s in engine.requests)
    assert {n for _, n, s in engine.requests if s.seed is not None} == {BLOCK}
    assert 0 < cost["decoded_tokens"] < cost["requested_tokens"] and cost["reused_tokens"] == 0


def test_requested_tokens_are_what_the_cells_cost_one_by_one(tmp_path: Path) -> None:
    alone = sum(scratch((cell,))[1]["decoded_tokens"] for cell in ALL)
    for _ in range(2):
        assert session(ALL, tmp_path)[1]["requested_tokens"] == alone


DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["cut", "flip", "zero", "drop", "insert", "lose"]), st.floats(0, 1), st.binary(max_size=90)
    ),
    max_size=5,
)


def damaged(data: bytes, damage: list[tuple[str, float, bytes]]) -> bytes:
    for kind, where, junk in damage:
        at = int(where * len(data))
        if kind == "cut":
            data = data[:at]
        elif kind == "lose":
            data = data[at:]
        elif kind == "flip" and data:
            at = min(at, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ (junk[0] if junk else 1)]) + data[at + 1 :]
        elif kind == "zero":
            data = data[:at] + bytes(len(data[at : at + 5000])) + data[at + 5000 :]
        elif kind == "drop":
            data = data[:at] + data[at + len(junk) :]
        elif kind == "insert":
            data = data[:at] + junk + data[at:]
    return data


@settings(max_examples=60, deadline=None)
@given(damage=DAMAGE)
def test_damage_changes_no_result_and_heals(damage: list[tuple[str, float, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as temp:
        stored = open_(Path(temp))
        stored.dir.mkdir()
        (stored.dir / "0.seg").write_bytes(damaged(segment(), damage))
        found, cost = session(ALL, Path(temp))
        assert found == scratch(ALL)[0]
        assert cost["decoded_tokens"] <= scratch(ALL)[1]["decoded_tokens"]
        assert session(ALL, Path(temp)) == (
            found,
            {**cost, "decoded_tokens": 0, "prefilled_tokens": 0, "reused_tokens": unshared(cost)},
        )


def unshared(cost: dict) -> int:
    return cost["decoded_tokens"] + cost["reused_tokens"]


def test_two_sessions_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(session, ALL, tmp_path) for _ in range(2)]
        assert [one.result()[0] for one in both] == [scratch(ALL)[0]] * 2
    assert len(list(tmp_path.rglob("*.seg"))) == 2
    found, cost = session(ALL, tmp_path)
    assert (found, cost["decoded_tokens"]) == (scratch(ALL)[0], 0)
    assert len(list(tmp_path.rglob("*.seg"))) == 2  # who decodes nothing writes nothing


@pytest.mark.parametrize("requests", [0, 1, 17, 60, 120])
def test_a_killed_session_loses_only_blocks_in_flight(tmp_path: Path, requests: int) -> None:
    killed = Mortal(requests)
    with pytest.raises(Killed):
        session(ALL, tmp_path, killed)
    found, cost = session(ALL, tmp_path)
    assert found == scratch(ALL)[0]
    assert killed.decoded + cost["decoded_tokens"] == scratch(ALL)[1]["decoded_tokens"]
    assert all(n <= (GREEDY_BLOCK if s.seed is None else BLOCK) for _, n, s in killed.requests)


def test_a_disk_that_takes_nothing_stops_no_session(tmp_path: Path) -> None:
    (tmp_path / "traces").write_text("a file where the directory should be")
    assert session(ALL, tmp_path / "traces")[0] == scratch(ALL)[0]


def test_nothing_is_read_before_a_trace_gets_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session(ALL, tmp_path)
    reads = []
    real = blockfile.read
    monkeypatch.setattr(blockfile, "read", lambda data: reads.append(1) or real(data))
    open_(tmp_path)
    assert not reads
    session(ALL[:1], tmp_path)
    assert len(reads) == 6  # three questions: a block of thinking and one of answer each


def test_a_block_after_other_tokens_is_ignored(tmp_path: Path) -> None:
    """And the first one at a place is the truth."""
    key = b"k" * 32
    first = open_(tmp_path).tape(key)
    for block in (Completion((1, 2), "length"), Completion((3,), "stop", 9)):
        first.add(block)
    second = open_(tmp_path).tape(key)
    assert [second.next(), second.next(), second.next()] == [
        Completion((1, 2), "length"),
        Completion((3,), "stop", 9),
        None,
    ]
    other = open_(tmp_path).tape(key)
    other.add(Completion((1, 9), "length"))
    assert other.next() is None
    other.add(Completion((8,), "context"))
    assert open_(tmp_path).tape(key).next() == Completion((1, 2), "length")
    assert open_(tmp_path).tape(b"other" * 5).next() is None


IDS = st.lists(st.integers(0, 2**31), max_size=70).map(tuple)
RECORDS = st.builds(
    blockfile.StoredBlock,
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=8, max_size=8),
    st.builds(Completion, IDS, st.sampled_from(["length", "context"]))
    | st.builds(Completion, IDS, st.just("stop"), st.integers(0, 2**31)),
)


@given(records=st.lists(st.tuples(RECORDS, st.binary(max_size=60))))
def test_records_are_found_between_any_bytes(records: list[tuple[blockfile.StoredBlock, bytes]]) -> None:
    data = b"".join(junk + (blockfile.write(record) or b"") for record, junk in records)
    with tempfile.NamedTemporaryFile() as f:
        f.write(data)
        f.flush()
        found = list(blockfile.scan(Path(f.name)))
    assert [(key, start) for _, key, start in found] == [record[:2] for record, _ in records]
    assert [blockfile.read(data[at:]) for at, _, _ in found] == [record for record, _ in records]


def test_a_stage_takes_its_checkpoints_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run_all` keeps traces where placement says, apart by weights, model and engine."""
    engine = Dice()
    monkeypatch.setattr("s1sweep.decoding.engines.vllm.warm_engine", lambda *_: engine)
    monkeypatch.setattr(decode, "load_tokenizer", lambda _: None)
    monkeypatch.setattr(decode, "Chat", lambda *_: LetterChat())
    place = resources(compose("train=none")[0].placement, tmp_path)
    assert place.traces == str(tmp_path / "traces")

    def run(where: Resources, model: dict[str, Any] | None = None) -> tuple[Session, int]:
        before = engine.decoded
        cells = [c.model_copy(update={"model": c.model.model_copy(update=model or {})}) for c in grid()]
        asked = [Item(cell, {}, item.out) for cell, item in zip(cells, items(ALL), strict=True)]
        return results(list(decode.run_all(asked, where)), asked), engine.decoded - before

    made = scratch(ALL)[1]["decoded_tokens"]
    assert run(Resources()) == (scratch(ALL)[0], made)
    assert not (tmp_path / "traces").exists()
    assert run(place) == (scratch(ALL)[0], made)
    assert run(place) == (scratch(ALL)[0], 0)
    assert run(place, {"dtype": "bfloat16"})[1] == made
    monkeypatch.setattr(
        "s1sweep.decoding.engines.vllm.fingerprint", lambda *_: {"engine": "scripted", "device": "another"}
    )
    assert run(place)[1] == made
    assert len(list((tmp_path / "traces").glob("*/about.json"))) == 3
