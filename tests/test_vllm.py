"""Real vLLM, greedy, fp32: every cell of a grid equals the naive reference, and the same cell run alone, token for
token.
"""

from __future__ import annotations

import json
from contextlib import closing, nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from s1sweep import testbed
from s1sweep.decoding.decode import run_all, segments
from s1sweep.decoding.readout import READOUTS
from s1sweep.decoding.serve import serve
from s1sweep.decoding.session import decode_session
from s1sweep.sources.tasks import questions
from s1sweep.spec import CellConfig, DecodeStage
from s1sweep.stages.contract import Done, Item
from s1sweep.stages.resources import Resources
from tests import naive
from tests.faults import Faults, fill_disk, no_space
from tests.helpers import compose

pytestmark = pytest.mark.slow

QUESTIONS = 4
GRID = [
    "train=none",
    "task=tiny_calc,tiny_hard",
    f"task.limit={QUESTIONS}",
    "method.max_thinking_tokens=6,40,160",
    "extrapolation.num_ignore=0,1,3",
    "extrapolation.string='',Wait",
    "method.max_answer_tokens=8",
]


HERE = Resources(kv_cache_mb=128)


@pytest.fixture
def engine():
    """The process's own, started once: another one only after a test that breaks it."""
    from s1sweep.decoding.engines.vllm import warm_engine

    return warm_engine(compose("train=none")[0].cell.model, str(testbed.BASE), HERE)


@pytest.fixture(scope="module")
def chat():
    from s1sweep.decoding.chat import Chat, load_tokenizer

    model = compose("train=none")[0].cell.model
    return Chat(model, load_tokenizer(model))


def decode(
    cells: list[CellConfig], engine, chat, out: Path, traces: Path | None = None, cost: dict | None = None
) -> list[list[dict]]:
    """The readouts of each cell, decoded in one session; its cost goes into `cost`."""
    items = []
    stored = segments(traces, cells[0].cell.model, str(testbed.BASE), engine) if traces else None
    for i, config in enumerate(cells):
        c = config.cell
        (out / str(i)).mkdir(parents=True)
        spec = DecodeStage(
            model=c.model, task=c.task, method=c.method, extrapolation=c.extrapolation, sampling=c.sampling
        )
        items.append(Item(spec, {}, out / str(i)))
    with decode_session(engine) as runner:
        for _, done in serve(runner, items, engine, chat, stored):
            if isinstance(done, Exception):
                raise done
            if cost is not None:
                cost.update(done.cost)
    return [[json.loads(line) for line in (item.out / READOUTS).read_text().splitlines()] for item in items]


@pytest.fixture(scope="module")
def reference() -> naive.Model:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(testbed.BASE, dtype="float32").eval()
    return naive.Model(model, AutoTokenizer.from_pretrained(testbed.BASE))


@pytest.mark.parametrize("dialect", sorted(naive.DIALECTS))
def test_a_grid_equals_the_naive_reference(dialect: str, engine, chat, reference, tmp_path: Path) -> None:
    cells = compose(*GRID, f"method.dialect={dialect}")
    for config, rows in zip(cells, decode(cells, engine, chat, tmp_path), strict=True):
        c = config.cell
        for question, row in zip(questions(c.task), rows, strict=True):
            expected = naive.DIALECTS[dialect](
                reference,
                question.question,
                c.method.max_thinking_tokens,
                c.extrapolation.num_ignore,
                c.extrapolation.string,
                c.method.max_answer_tokens,
            )
            where = (question.id, c.method.max_thinking_tokens, c.extrapolation)
            assert row["thinking_ids"] == expected["thinking"], where
            assert row["answer_ids"] == expected["answer"], where
            assert (row["ended"] == "forced") == expected["forced"], where


def test_a_cell_alone_and_in_a_grid(engine, chat, tmp_path: Path) -> None:
    cells = compose(*GRID)
    together = decode(cells, engine, chat, tmp_path / "grid")
    for i in (0, 7, 17, len(cells) - 1):
        engine.forget()
        assert decode([cells[i]], engine, chat, tmp_path / f"alone{i}") == [together[i]]


def test_samples_are_reproducible_and_differ(engine, chat, tmp_path: Path) -> None:
    """Sampled streams depend on their place, not on company, order or how far others read."""
    grid = ["train=none", "task=tiny_hard", f"task.limit={QUESTIONS}", "sampling=sampled", "sampling.samples=3"]
    short = compose(*grid, "method.max_thinking_tokens=150")
    (first,) = decode(short, engine, chat, tmp_path / "a")
    both = decode(compose(*grid, "method.max_thinking_tokens=20,150"), engine, chat, tmp_path / "b")
    assert both[1] == first
    for a, b in zip(*both, strict=True):
        assert b["thinking_ids"][: len(a["thinking_ids"])] == a["thinking_ids"]
    thoughts = {(r["question_id"], tuple(r["thinking_ids"])) for r in first}
    assert len(thoughts) > QUESTIONS  # three samples of a question are not one
    (replicate,) = decode(compose(*grid, "sampling.replicate=1"), engine, chat, tmp_path / "c")
    assert [r["thinking_ids"] for r in replicate] != [r["thinking_ids"] for r in first]


@pytest.mark.parametrize("sampling", ["greedy", "sampled"])
def test_a_second_session_over_stored_traces(engine, chat, tmp_path: Path, sampling: str) -> None:
    """It decodes nothing and says the same; with a further budget it decodes on from what is stored."""
    grid = [
        "train=none",
        "task=tiny_hard",
        f"task.limit={QUESTIONS}",
        f"sampling={sampling}",
        "extrapolation=none,wait",
    ]
    short, long = (compose(*grid, f"method.max_thinking_tokens={cap}") for cap in (20, 150))
    made, reused, further, fresh = ({} for _ in range(4))
    first = decode(short, engine, chat, tmp_path / "a", tmp_path / "traces", made)
    assert decode(short, engine, chat, tmp_path / "b", tmp_path / "traces", reused) == first
    assert (made["reused_tokens"], reused["decoded_tokens"]) == (0, 0)
    assert reused["reused_tokens"] == made["decoded_tokens"] > 0
    both = decode([*short, *long], engine, chat, tmp_path / "c", tmp_path / "traces", further)
    engine.forget()
    assert both == decode([*short, *long], engine, chat, tmp_path / "d", None, fresh)
    assert made["decoded_tokens"] + further["decoded_tokens"] == fresh["decoded_tokens"]


@pytest.mark.parametrize("group", ["embed_tokens", "norm", "proj", ""])
def test_other_weights_in_a_warm_engine(engine, chat, tmp_path: Path, group: str) -> None:
    """After a reload every tensor is the new one, packed copies too: transformers decodes the same tokens."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    changed = tmp_path / "changed"
    shutil.copytree(testbed.BASE, changed)
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: w * (1 + 0.6 * torch.randn(w.shape, generator=generator)) if group in name else w
        for name, w in load_file(changed / "model.safetensors").items()
    }
    save_file(weights, changed / "model.safetensors", metadata={"format": "pt"})
    cells = compose("train=none", "task=tiny_calc", f"task.limit={QUESTIONS}", "method.max_thinking_tokens=40")
    (before,) = decode(cells, engine, chat, tmp_path / "before")
    engine.load(str(changed))
    (other,) = decode(cells, engine, chat, tmp_path / "other")
    engine.load(str(testbed.BASE))
    (after,) = decode(cells, engine, chat, tmp_path / "after")
    assert before == after != other
    model = naive.Model(
        AutoModelForCausalLM.from_pretrained(changed, dtype="float32").eval(), AutoTokenizer.from_pretrained(changed)
    )
    c = cells[0].cell
    for question, row in zip(questions(c.task), other, strict=True):
        expected = naive.harness(model, question.question, 40, 0, "", c.method.max_answer_tokens)
        assert row["thinking_ids"] == expected["thinking"], question.id
        assert row["answer_ids"] == expected["answer"], question.id


def job(out: Path) -> list[Item]:
    """Stages as a worker gets them: greedy and sampled, with ends that are ignored."""
    common = ["train=none", "task=tiny_hard", f"task.limit={QUESTIONS}", "method.max_thinking_tokens=40,150"]
    cells = [*compose(*common, "extrapolation=none,wait"), *compose(*common, "sampling=sampled")]
    found = []
    for i, c in enumerate(config.cell for config in cells):
        (out / str(i)).mkdir(parents=True)
        spec = DecodeStage(
            model=c.model, task=c.task, method=c.method, extrapolation=c.extrapolation, sampling=c.sampling
        )
        found.append(Item(spec, {}, out / str(i)))
    return found


def tokens(asked: list[Item]) -> list[bytes]:
    """The readouts of stages, run as a worker runs them."""
    assert all(isinstance(done, Done) for _, done in run_all(asked, HERE))
    return [(item.out / READOUTS).read_bytes() for item in asked]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return tokens(job(tmp_path_factory.mktemp("alone")))


def unfinished(engine) -> int:
    llm = engine._llm.llm_engine
    return llm.get_num_unfinished_requests() + llm.engine_core.engine_core.scheduler.get_num_unfinished_requests()


@pytest.mark.timeout(100)
@pytest.mark.parametrize("at", [1, 3, 6])
def test_the_engine_of_a_session_that_is_left(engine, alone: list[bytes], tmp_path: Path, at: int) -> None:
    """The same engine serves the next one, as if nothing had been."""
    with closing(run_all(job(tmp_path / "left"), HERE)) as stages:
        for _ in range(at):
            next(stages)
        assert at == 6 or unfinished(engine)
    assert engine.idle and not unfinished(engine)
    assert tokens(job(tmp_path / "next")) == alone
    assert engine.idle


@pytest.mark.timeout(100)
@pytest.mark.parametrize("at", [1, 9, 23])
def test_the_engine_of_a_session_whose_disk_is_full(
    engine, alone: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    faults = Faults(no_space, at, lasting=True)
    with monkeypatch.context() as full:
        asked = job(tmp_path / "full")
        fill_disk(full, lambda: faults)
        assert [done for _, done in run_all(asked, HERE) if isinstance(done, OSError)]
    assert engine.idle and not unfinished(engine)
    assert tokens(job(tmp_path / "next")) == alone
    assert engine.idle


@pytest.mark.timeout(100)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_engine_of_a_session_that_fails_within_a_step(
    engine, alone: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """It is closed, and the next session starts another."""
    llm, steps = engine._llm.llm_engine, count()
    step = llm.step

    def failing() -> Any:
        made = step()
        if next(steps) == 20:
            raise error("in the middle of a step")
        return made

    monkeypatch.setattr(llm, "step", failing)
    expected = pytest.raises(KeyboardInterrupt) if error is KeyboardInterrupt else nullcontext()
    with expected:
        assert not any(isinstance(done, Done) for _, done in run_all(job(tmp_path / "failed"), HERE))
    assert not engine.idle
    assert tokens(job(tmp_path / "next")) == alone


def test_weights_that_cannot_be_loaded(engine, alone: list[bytes], tmp_path: Path) -> None:
    asked = [replace(item, inputs={"checkpoint": tmp_path}) for item in job(tmp_path / "other")]
    assert not any(isinstance(done, Done) for _, done in run_all(asked, HERE))
    assert not engine.idle
    assert tokens(job(tmp_path / "next")) == alone


def test_stop_must_be_one_token(chat) -> None:
    from s1sweep.decoding.chat import Chat, load_tokenizer
    from s1sweep.errors import UserError

    model = compose("train=none", "model.delimiters.think_stop=['<|im_start|>answer']")[0].cell.model
    with pytest.raises(UserError, match=r"think_stop='<\|im_start\|>answer' is 2 tokens"):
        Chat(model, load_tokenizer(model))
