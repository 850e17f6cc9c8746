"""Rows come in any order and are written in one; repetitions are found; a reward model's scores, and what is kept."""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s1sweep.decoding.case import Judged
from s1sweep.decoding.readout import loop
from s1sweep.decoding.rows import Rows
from s1sweep.decoding.scorer import ProcessRewardModel, split_steps
from s1sweep.decoding.segments import Segments
from s1sweep.decoding.trace import Tally
from s1sweep.errors import UserError
from s1sweep.spec import ScorerSpec
from tests.helpers import ScriptedEngine, compose

# ---- rows

ROWS = st.lists(st.lists(st.fixed_dictionaries({"a": st.text(max_size=9)}), max_size=3), min_size=1, max_size=7)


@given(rows=ROWS, data=st.data())
def test_rows_in_any_order_give_one_file(rows: list[list[dict[str, str]]], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(rows))))
    with tempfile.TemporaryDirectory() as temp:
        path = Path(temp) / "readouts.jsonl"
        writing = Rows(path, len(rows))
        last = [writing.put(place, rows[place]) for place in order]
        assert last == [False] * (len(rows) - 1) + [True]
        assert not path.exists()  # before it is whole
        writing.finish()
        assert [json.loads(line) for line in path.read_bytes().splitlines()] == [row for each in rows for row in each]
        assert list(Path(temp).iterdir()) == [path]


# ---- loops


def brute(ids: tuple[int, ...], longest: int) -> tuple[int, int] | None:
    """The same, by trying every period and every length."""
    for period in range(1, min(longest, len(ids) // 3) + 1):
        for n in range(len(ids), max(24, 3 * period) - 1, -1):
            tail = ids[len(ids) - n :]
            if all(tail[i] == tail[i + period] for i in range(n - period)):
                return period, n
    return None


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ((1, 2, 3) * 10, (3, 30)),
        ((9, 8, 7) + (1, 2, 3) * 10, (3, 30)),
        ((9, 8, 3) + (1, 2, 3) * 10, (3, 31)),  # it began with the end of a period
        ((1, 2, 3) * 10 + (1,), (3, 31)),
        ((1, 2, 3) * 10 + (4,), None),  # it was left again
        ((5,) * 23, None),
        ((5,) * 24, (1, 24)),
        ((1, 2) * 12, (2, 24)),  # not 4, 6 or 8
        (tuple(range(20)) * 2, None),
        (tuple(range(20)) * 3, (20, 60)),
        (tuple(range(256)) * 3, (256, 768)),
        (tuple(range(257)) * 3, None),
        ((), None),
    ],
)
def test_loop(ids: tuple[int, ...], found: tuple[int, int] | None) -> None:
    assert loop(ids) == found


PIECES = st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=12), st.integers(1, 12)), max_size=4)


@given(pieces=PIECES)
def test_loop_equals_trying_everything(pieces: list[tuple[list[int], int]]) -> None:
    ids = tuple(token for piece, times in pieces for token in piece * times)
    assert loop(ids, longest=20) == brute(ids, longest=20)


# ---- steps


@given(
    text=st.text("ab;\n ", max_size=30), separators=st.sampled_from([(";",), (";", "\n"), ("\n\n",), ("\n", "\n\n")])
)
def test_steps_are_the_text(text: str, separators: tuple[str, ...]) -> None:
    """Each has one thing to judge; all that is left out is blank, and at the end."""

    def said(part: str) -> int:
        for separator in sorted(separators, key=len, reverse=True):
            part = part.replace(separator, "|")
        return sum(bool(body.strip()) for body in part.split("|"))

    steps = split_steps(text, separators)
    joined = "".join(steps)
    assert text.startswith(joined)
    assert said(text[len(joined) :]) == 0
    assert [said(step) for step in steps] == [1] * said(text)
    assert all(step.endswith(separators) for step in steps[:-1])


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a;b\nc", ["a;", "b\n", "c"]),
        ("a;\nb;", ["a;", "\nb;"]),  # a blank one is part of the next
        ("a", ["a"]),
        ("", []),
        (" \n;", []),
    ],
)
def test_split_steps(text: str, steps: list[str]) -> None:
    assert split_steps(text, (";", "\n")) == steps


# ---- the reward model

SPEC = compose("train=none")[0].cell.scorer.model_copy(update={"max_model_len": 60})
GOOD, BAD = ord(SPEC.good), ord(SPEC.bad)


class Characters:
    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return list(map(ord, text))


class Judge(ScriptedEngine):
    """Finds a step good unless it says "bad", and counts what it reads."""

    def __init__(self) -> None:
        super().__init__(self._says)
        self.read: list[str] = []

    def _says(self, prompt: tuple[int, ...]) -> Iterator[int]:  # type: ignore[override]
        text = "".join(map(chr, prompt))
        assert text.endswith(SPEC.tag)
        self.read.append(text)
        yield BAD if "bad" in text.split(SPEC.tag)[-2] else GOOD


def judge(
    *texts: str, engine: Judge, segments: Segments | None = None, tally: Tally | None = None, **changes: Any
) -> list[Judged]:
    spec: ScorerSpec = SPEC.model_copy(update=changes)

    async def all_of_them() -> list[Judged]:
        model = ProcessRewardModel(spec, Characters(), engine, {"model": "m"}, segments, tally or Tally())
        return await asyncio.gather(*(model.score("q", text) for text in texts))

    return asyncio.run(all_of_them())


SURE, NOT = 1.0, 0.0  # of the script: 1 / (1 + e^-20), to 6 digits


def test_each_step_has_a_score_from_what_comes_before_it() -> None:
    engine = Judge()
    (found,) = judge("x;bad;y", engine=engine)
    assert found.steps == (SURE, NOT, SURE)
    assert sorted(engine.read, key=len) == ["q\nx;?", "q\nx;?bad;?", "q\nx;?bad;?y?"]
    assert found.tokens == len("q\nx;?bad;?y?")


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("x;bad;y", {"last": SURE, "min": NOT, "mean": round(2 / 3, 6), "prod": NOT}),
        ("x;y;bad", {"last": NOT, "min": NOT, "mean": round(2 / 3, 6), "prod": NOT}),
        ("x;y", {"last": SURE, "min": SURE, "mean": SURE, "prod": SURE}),
    ],
)
def test_aggregates(text: str, scores: dict[str, float]) -> None:
    for aggregate, score in scores.items():
        (found,) = judge(text, engine=Judge(), aggregate=aggregate)
        assert found.score == score, aggregate


def test_a_text_without_steps_scores_0_and_is_not_read() -> None:
    engine, tally = Judge(), Tally()
    assert judge("", " ;\n", engine=engine, tally=tally) == [Judged((), 0.0, 0), Judged((), 0.0, 0)]
    assert (engine.read, tally.scored) == ([], 0)


def test_steps_that_texts_share_are_read_once() -> None:
    engine, tally = Judge(), Tally()
    judge("x;y", "x;z", "x;y", engine=engine, tally=tally)
    assert sorted(engine.read) == ["q\nx;?", "q\nx;?y?", "q\nx;?z?"]
    assert tally.scored == sum(map(len, engine.read))


def test_what_does_not_fit_the_reward_model_scores_0() -> None:
    engine = Judge()
    (found,) = judge("x;" + "y" * 60, engine=engine)
    assert (found.steps, found.score) == ((SURE, 0.0), 0.0)
    assert engine.read == ["q\nx;?"]


def test_stored_scores_are_not_asked_for_again(tmp_path: Path) -> None:
    first, second = Judge(), Judge()
    texts = ("x;bad;y", "x;z")
    made = judge(*texts, engine=first, segments=Segments(tmp_path, {}))
    tally = Tally()
    assert judge(*texts, engine=second, segments=Segments(tmp_path, {}), tally=tally) == made
    assert (second.read, tally.scored) == ([], 0)
    assert len(first.read) == 4
    judge("x;new", engine=second, segments=Segments(tmp_path, {}))
    assert second.read == ["q\nx;?new?"]


def test_the_first_stored_score_is_the_truth(tmp_path: Path) -> None:
    """An engine that would now say something else is not asked; so a second session gives the first one's results."""

    class Even(Judge):
        async def next_logprobs(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> tuple[float, ...]:
            self.read.append("")
            return math.log(0.123456789), math.log(1 - 0.123456789)

    first = judge("x", engine=Even(), segments=Segments(tmp_path, {}))
    assert first[0].steps == (0.123457,)
    assert judge("x", engine=Judge(), segments=Segments(tmp_path, {})) == first
    assert judge("x", engine=Judge(), segments=Segments(tmp_path, {}), prompt="{question}!") != first


@pytest.mark.parametrize(("good", "bad"), [(0.0, -2000.0), (-2000.0, 0.0), (-math.inf, 0.0), (0.0, -math.inf)])
def test_a_judge_that_is_quite_sure(good: float, bad: float) -> None:
    class Sure(Judge):
        async def next_logprobs(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> tuple[float, ...]:
            return good, bad

    (found,) = judge("x", engine=Sure())
    assert found.score == float(good > bad)


def test_labels_are_one_token() -> None:
    with pytest.raises(UserError, match=r"scorer.good='yes' is 3 tokens .* Give one token"):
        judge("x", engine=Judge(), good="yes")
