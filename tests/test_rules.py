"""Subset rules against pools where the right answer is known, and as properties."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1sweep import testbed
from s1sweep.data.pool import Row, read_pool
from s1sweep.data.rules import RULES, clean, difficult
from s1sweep.data.select import ROWS, run, select
from s1sweep.errors import UserError
from s1sweep.spec import DataSpec, PoolSpec, SelectStage


def row(i: int, **changes: object) -> Row:
    plain = {
        "id": f"r{i:04d}",
        "question": "q",
        "solution": "s",
        "thinking": "t",
        "answer": "1",
        "domain": "calc",
        "source": "made",
        "weak_correct": False,
        "strong_correct": False,
        "trace_tokens": i,
    }
    return Row.model_validate({**plain, **changes})


def pick(rows: list[Row], rule: str, size: int | None = None, seed: int = 0) -> list[str]:
    return [r.id for r in select(rows, DataSpec(rule=rule, size=size, seed=seed))]


@pytest.mark.parametrize(
    "fault",
    [
        {"thinking": " "},
        {"solution": None},
        {"domain": None},
        {"question": "see [asy] draw(); [/asy]"},
        {"thinking": "the answer is **12**"},
        {"question": "![Image](x.png) what is it"},
        {"question": "as on p12. of the book"},
    ],
)
def test_quality_faults(fault: dict) -> None:
    assert not clean(row(1, **fault))
    assert clean(row(1))


def test_quality_keeps_what_only_looks_like_a_fault() -> None:
    assert clean(row(1, question="[asy] figure", source="AIME 2020"))
    assert clean(row(1, thinking="**bold words** and p. 12"))


def test_difficulty_drops_what_either_model_solves() -> None:
    assert difficult(row(1))
    assert not difficult(row(1, weak_correct=True))
    assert not difficult(row(1, strong_correct=True))


def test_longest_takes_the_longest_in_order() -> None:
    rows = [row(i) for i in range(20)]
    assert pick(rows, "longest", 3) == ["r0019", "r0018", "r0017"]


def test_full_takes_every_row_with_a_trace() -> None:
    rows = [row(0), row(1, thinking=""), row(2, question="**12**")]
    assert pick(rows, "full") == ["r0000", "r0002"]


def test_diverse_is_uniform_over_domains() -> None:
    rows = [row(i, domain="big" if i < 900 else "small") for i in range(1000)]
    chosen = {r.id for r in select(rows, DataSpec(rule="diverse", size=120, seed=0))}
    small = sum(r.id in chosen for r in rows if r.domain == "small")
    assert 40 <= small <= 80  # 60 expected; uniform over rows would give 12
    uniform = set(pick(rows, "random", 120))
    assert sum(r.id in uniform for r in rows if r.domain == "small") < 30


def test_s1k_prefers_long_traces_as_two_to_the_minus_rank() -> None:
    rows = [row(i) for i in range(40)]
    first = Counter(pick(rows, "s1k", 1, seed)[0] for seed in range(600))
    # Rank 0 is drawn with probability 1/2, rank 1 with 1/4, rank 2 with 1/8.
    assert 255 <= first["r0039"] <= 345
    assert 110 <= first["r0038"] <= 190
    assert 40 <= first["r0037"] <= 110


def test_s1k_takes_difficult_rows_only() -> None:
    rows = [row(i, strong_correct=i % 2 == 0) for i in range(50)]
    assert all(int(name[1:]) % 2 for name in pick(rows, "s1k", 25))


@pytest.mark.parametrize("rule", sorted(RULES))
def test_too_large_is_refused_with_the_number(rule: str) -> None:
    rows = [row(i) for i in range(5)]
    if RULES[rule].uses_size:
        with pytest.raises(UserError, match=r"data.size=6 is larger than the 5 rows"):
            pick(rows, rule, 6)


@settings(max_examples=60, deadline=None)
@given(
    rule=st.sampled_from(sorted(RULES)),
    domains=st.lists(st.sampled_from("abcde"), min_size=1, max_size=60),
    share=st.floats(0.01, 1),
    seed=st.integers(0, 5),
)
def test_size_no_duplicates_and_determinism(rule: str, domains: list[str], share: float, seed: int) -> None:
    rows = [row(i, domain=d) for i, d in enumerate(domains)]
    size = max(1, int(share * len(rows)))
    chosen = pick(rows, rule, size, seed)
    assert chosen == pick(rows, rule, size, seed)
    assert len(chosen) == len(set(chosen)) == (size if RULES[rule].uses_size else len(rows))


def test_seeds_and_rules_give_other_subsets() -> None:
    rows = list(read_pool(testbed.POOL))
    draws = [frozenset(pick(rows, "random", 64, seed)) for seed in range(3)]
    draws += [frozenset(pick(rows, rule, 64)) for rule in ("diverse", "longest", "s1k")]
    assert len(set(draws)) == 6


def test_stage_writes_rows_and_counts(tmp_path: Path) -> None:
    spec = SelectStage(pool=PoolSpec(name="testbed", path=None), data=DataSpec(rule="diverse", size=30, seed=0))
    summary = run(spec, {}, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / ROWS).read_text().splitlines()]
    assert summary["rows"] == len(rows) == sum(summary["domains"].values()) == 30
    assert summary["max_trace_tokens"] == max(r["trace_tokens"] for r in rows)
