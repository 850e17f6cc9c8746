"""Subset rules against pools where the right answer is known, and as properties."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1sweep.data.rules import RULES
from s1sweep.data.rules.s1k import NotebookSettings, benchmark_weights
from s1sweep.data.select import normal, select
from s1sweep.errors import UserError
from s1sweep.planning import Plan
from s1sweep.planning.axes import axes_of
from s1sweep.spec import DataSpec
from s1sweep.stages.rows import Entry, Row, entry
from tests.helpers import ROOT, compose

NEEDED = {"domain_quota": {"quota": {"a": 1}}}


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


def light(rows: list[Row]) -> list[Entry]:
    return [entry(vars(r), lambda r=r: r) for r in rows]  # type: ignore[misc]


def pick(rows: list[Row], rule: str, size: int | None = None, seed: int = 0, **own: object) -> list[str]:
    return [r.id for r in select(light(rows), DataSpec(rule=rule, size=size, seed=seed, settings=own))]


def test_longest_and_shortest_go_by_length() -> None:
    rows = [row(i) for i in range(20)]
    assert pick(rows, "longest", 3) == ["r0019", "r0018", "r0017"]
    assert pick(rows, "shortest", 3) == ["r0000", "r0001", "r0002"]


def test_full_takes_every_row_with_a_trace() -> None:
    rows = [row(0), row(1, thinking=""), row(2, question="**12**")]
    assert pick(rows, "full") == ["r0000", "r0002"]


def test_diverse_is_uniform_over_domains() -> None:
    rows = [row(i, domain="big" if i < 900 else "small") for i in range(1000)]
    chosen = set(pick(rows, "diverse", 120))
    small = sum(r.id in chosen for r in rows if r.domain == "small")
    assert 40 <= small <= 80  # 60 expected; uniform over rows would give 12
    uniform = set(pick(rows, "random", 120))
    assert sum(r.id in uniform for r in rows if r.domain == "small") < 30


@pytest.mark.parametrize("rule", ["s1k", "s1k_notebook"])
def test_s1k_prefers_long_traces_as_two_to_the_minus_rank(rule: str) -> None:
    rows = [row(i) for i in range(40)]
    first = Counter(pick(rows, rule, 1, seed)[0] for seed in range(600))
    # Rank 0 is drawn with probability 1/2, rank 1 with 1/4, rank 2 with 1/8.
    assert 255 <= first["r0039"] <= 345
    assert 110 <= first["r0038"] <= 190
    assert 40 <= first["r0037"] <= 110


def test_quota_takes_so_many_of_each_domain() -> None:
    rows = [row(i, domain="abc"[i % 3]) for i in range(30)]
    chosen = pick(rows, "domain_quota", quota={"a": 4, "c": 1})
    assert Counter("abc"[int(name[1:]) % 3] for name in chosen) == {"a": 4, "c": 1}
    with pytest.raises(UserError, match=r"quota.b=11 is larger than the 10 rows .* a 10, b 10, c 10"):
        pick(rows, "domain_quota", quota={"b": 11})


def test_notebook_always_takes_correct_rows_of_the_benchmarks() -> None:
    fixed = [
        row(0, source="Idavidrein/gpqa GPQA", trace_correct=True),
        row(1, source="AIME_1983_2024", trace_correct=True),
        row(2, source="openaimath", trace_correct=True, trace_tokens=5601),
    ]
    not_fixed = [
        row(3, source="AIME_1983_2024", trace_correct=False),
        row(4, source="openaimath", trace_correct=True, trace_tokens=5600),
        row(5, source="numina", trace_correct=True, trace_tokens=9000),
    ]
    others = [row(i) for i in range(100, 200)]
    for seed in range(5):
        chosen = pick([*others, *not_fixed, *fixed], "s1k_notebook", 6, seed)
        assert chosen[:3] == ["r0000", "r0001", "r0002"]
        assert len(set(chosen)) == 6
    with pytest.raises(UserError, match=r"data.size=2 is smaller than the 3 rows"):
        pick(fixed, "s1k_notebook", 2)


def test_notebook_is_uniform_until_seventy_per_cent_then_weighted() -> None:
    rows = [row(i, domain="abcd"[i % 4]) for i in range(400)]
    chosen = pick(rows, "s1k_notebook", 100, weights={"a": 1})
    domains = ["abcd"[int(name[1:]) % 4] for name in chosen]
    assert set(domains[:70]) == set("abcd") and set(domains[70:]) == {"a"}


def test_benchmark_weights_are_the_notebooks() -> None:
    """AIME's counts, plus the whole part of GPQA's scaled to half of AIME's total."""
    rows = [row(i, source="AIME", domain=d) for i, d in enumerate("aaaabb")]
    rows += [row(i, source="GPQA", domain=d) for i, d in enumerate("bbbbbcc", 10)]
    rows += [row(i, source="other", domain="z") for i in range(20, 30)]
    # The scale is 0.5 * 6 / 7: b gets 2 + int(2.14), c gets int(0.86).
    assert benchmark_weights(light(rows), NotebookSettings()) == {"a": 4, "b": 4, "c": 0}


def test_weights_that_are_used_up_leave_the_rest_uniform() -> None:
    rows = [row(i, domain="a" if i < 3 else "b") for i in range(20)]
    assert len(pick(rows, "s1k_notebook", 20, weights={"a": 1}, uniform_share=0)) == 20


@pytest.mark.parametrize("rule", sorted(RULES))
def test_too_large_is_refused_with_the_number(rule: str) -> None:
    rows = [row(i) for i in range(5)]
    if RULES[rule].uses_size:
        with pytest.raises(UserError, match=r"data.size=6 is larger than the 5 rows"):
            pick(rows, rule, 6)


def test_rules_by_length_need_lengths() -> None:
    rows = [row(i, trace_tokens=None) for i in range(5)]
    assert len(pick(rows, "random", 2)) == 2
    for rule in ("longest", "shortest", "s1k"):
        with pytest.raises(UserError, match=r"no row has trace_tokens.*pool.columns.trace_tokens"):
            pick(rows, rule, 2)


def test_nothing_to_draw_from_is_said() -> None:
    with pytest.raises(UserError, match=r"after the `quality` step, and there are none.*curation.quality.features"):
        pick([], "random", 2)
    with pytest.raises(UserError, match=r"none of the 1 rows after the `pool` step.*has a trace"):
        pick([row(0, thinking="")], "full")


def test_settings_are_the_rules_own() -> None:
    rows = [row(0)]
    with pytest.raises(UserError, match=r"data.settings.quota: .*Settings of data=random: none"):
        pick(rows, "random", 1, quota={})
    with pytest.raises(UserError, match=r"data.settings.quota: field required"):
        pick(rows, "domain_quota")
    with pytest.raises(UserError, match=r"data.size=null"):
        normal(DataSpec(rule="random", size=None, seed=0))


@settings(max_examples=100, deadline=None)
@given(
    rule=st.sampled_from(sorted(set(RULES) - {"domain_quota"})),
    domains=st.lists(st.sampled_from("abcde"), min_size=1, max_size=60),
    share=st.floats(0.01, 1),
    seed=st.integers(0, 5),
    shuffled=st.randoms(use_true_random=False),
)
def test_size_no_duplicates_and_determinism(
    rule: str, domains: list[str], share: float, seed: int, shuffled: object
) -> None:
    rows = [row(i, domain=d) for i, d in enumerate(domains)]
    size = max(1, int(share * len(rows)))
    chosen = pick(rows, rule, size, seed)
    assert chosen == pick(rows, rule, size, seed)
    assert len(chosen) == len(set(chosen)) == (size if RULES[rule].uses_size else len(rows))
    shuffled.shuffle(rows)  # type: ignore[attr-defined]
    if rule not in ("full", "random", "random_difficult"):  # these draw by place in the pool
        assert chosen == pick(rows, rule, size, seed)


@settings(max_examples=60, deadline=None)
@given(sizes=st.tuples(st.integers(1, 20), st.integers(1, 20)), seed=st.integers(0, 5))
def test_longer_prefixes_of_ranked_rules_nest(sizes: tuple[int, int], seed: int) -> None:
    """A larger subset by rank, or of one stream of draws, holds the smaller: sizes are one curve."""
    rows = [row(i, domain="ab"[i % 2]) for i in range(20)]
    small, large = sorted(sizes)
    for rule in ("longest", "shortest", "s1k", "diverse"):
        assert pick(rows, rule, large, seed)[:small] == pick(rows, rule, small, seed)


GOLDEN = {  # sha256 of the ids in order, first 16 digits: as before curation was stages
    ("full", 1, 0): "a550f853df50e056",
    ("random", 1024, 0): "26074b80239f94c2",
    ("random", 1024, 1): "33e9ff5d552730a2",
    ("diverse", 1024, 0): "81c46022331ca903",
    ("diverse", 256, 2): "8a14803f1cb5ef50",
    ("longest", 1024, 0): "52f16c84d53a0f98",
    ("s1k", 1024, 0): "9480f12eb7013856",
    ("s1k", 64, 4): "2e6c48944b176683",
}


@pytest.mark.parametrize(("rule", "size", "seed"), GOLDEN)
def test_subsets_of_the_testbed_stay_what_they_were(rule: str, size: int, seed: int) -> None:
    config = compose(f"data={rule}", f"data.size={size}", f"data.seed={seed}")[0]
    plan = Plan()
    plan.add(config.cell, axes_of(config))
    (rows,) = plan.subsets.values()
    assert hashlib.sha256("\n".join(r.id for r in rows).encode()).hexdigest()[:16] == GOLDEN[rule, size, seed]


def test_every_shipped_rule_plans_on_the_testbed() -> None:
    plan = Plan()
    for config in compose(f"data={','.join(sorted(RULES))}"):
        plan.add(config.cell, axes_of(config))
    assert len({frozenset(r.id for r in rows) for rows in plan.subsets.values()}) == len(RULES)


OWN = """
from s1sweep.data.rules import rule

@rule("every_other", draws_from="quality", seed=False)
def every_other(rows, size, rng, settings):
    return rows[::2][:size]
"""


def test_a_rule_of_ones_own_is_one_file(tmp_path: Path) -> None:
    """Its source is part of the identity, where it lies is not."""
    ids = []
    for name, source in (("a.py", OWN), ("b.py", OWN), ("c.py", OWN + "# edited\n")):
        (tmp_path / name).write_text(source)
        config = compose(f"data.rule='{tmp_path / name}:every_other'", "data.size=7", "data.seed=3")[0]
        plan = Plan()
        plan.add(config.cell, axes_of(config))
        ((stage, rows),) = plan.subsets.items()
        assert len(rows) == 7 and stage.startswith("select-every-other-7-")
        assert axes_of(config)["data.rule"] == "every_other"
        ids.append(stage)
    assert ids[0] == ids[1] != ids[2]


def test_the_rule_in_the_documentation_works(tmp_path: Path) -> None:
    text = (ROOT / "docs/data.md").read_text()
    (tmp_path / "mine.py").write_text(text.split("```python\n")[1].split("```")[0])
    config = compose(f"data.rule='{tmp_path}/mine.py:wordy'", "data.size=5")[0]
    plan = Plan()
    plan.add(config.cell, axes_of(config))
    ((_, rows),) = plan.subsets.items()
    assert len(rows) == 5


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        (None, "x", ["is not a Python file", "FILE.py:NAME"]),
        ("1/0", "x", ["cannot be imported", "ZeroDivisionError"]),
        (OWN, "every_othr", ["no rule made with @rule", "Rules there: every_other"]),
        (OWN.replace("rows[::2][:size]", "[rows[0]] * size"), "every_other", ["some of them twice"]),
    ],
)
def test_mistakes_in_a_rule_of_ones_own(tmp_path: Path, source: str | None, name: str, words: list[str]) -> None:
    path = tmp_path / "mine.py"
    if source is not None:
        path.write_text(source)
    config = compose(f"data.rule='{path}:{name}'", "data.size=7")[0]
    with pytest.raises(UserError) as error:
        Plan().add(config.cell, axes_of(config))
    for word in [*words, "data.rule="]:
        assert word in str(error.value)
