"""Metrics of curves on planted ones, and estimators over subsets against all subsets listed."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations, pairwise
from math import comb
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1sweep.analysis import metrics
from s1sweep.analysis.metrics import Expected, Sample, counting, votes
from s1sweep.analysis.published import published
from s1sweep.grading.parallel import Voter, decide
from s1sweep.spec import ParallelSpec

# --- curves

LINE = [(500 * 2.0**i, 10 + 6.0 * i) for i in range(6)]
CURVES = st.lists(
    st.tuples(st.integers(100, 30_000), st.integers(0, 30)), min_size=2, max_size=8, unique_by=lambda p: p[0]
)


@pytest.mark.parametrize(
    ("table", "curve", "row"), [("table12", "TCC", "TCC"), ("table12", "TCC+BF", "TCC+BF"), ("figure1", "AIME24", "BF")]
)
def test_table_3_follows_from_the_published_points(table: str, curve: str, row: str) -> None:
    found, printed = published(table).curves[curve], published("table3")
    assert round(metrics.scaling(found.points)) == printed.value(row, "scaling")
    assert round(metrics.performance(found.points), 1) == printed.value(row, "performance")
    if found.limits:
        assert metrics.control(found.points, found.limits) == printed.value(row, "control")


def test_scaling_to_two_decimals() -> None:
    curves = published("table12").curves
    assert metrics.scaling(curves["TCC"].points) == pytest.approx(-23.77, abs=0.005)
    assert metrics.scaling(curves["TCC+BF"].points) == pytest.approx(13.16, abs=0.005)
    assert metrics.scaling(published("figure1").curves["AIME24"].points) == pytest.approx(14.82, abs=0.005)


def test_slopes_on_a_line_are_its_slope() -> None:
    assert metrics.scaling(LINE) == pytest.approx(6)
    assert metrics.slope_per_doubling(LINE) == pytest.approx(6)
    assert metrics.area_under_curve(LINE) == pytest.approx(25)
    assert metrics.performance(LINE) == 40
    assert metrics.monotonicity_violations(LINE) == 0


def test_two_close_points_outweigh_a_line_in_scaling_alone() -> None:
    close = [*LINE, (LINE[-1][0] * 1.001, 30.0)]
    assert metrics.scaling(close) < -100
    assert 4 < metrics.slope_per_doubling(close) < 6


@settings(deadline=None)
@given(CURVES)
def test_metrics_of_any_curve(points: list[tuple[float, float]]) -> None:
    pairs = [(b[1] - a[1]) / np.log2(b[0] / a[0]) for a, b in combinations(points, 2)]
    assert metrics.scaling(points) == pytest.approx(np.mean(pairs))
    x, y = np.array(points).T
    assert metrics.slope_per_doubling(points) == pytest.approx(np.polyfit(np.log2(x), y, 1)[0])
    heights = [y for _, y in points]
    assert min(heights) - 1e-9 <= metrics.area_under_curve(points) <= max(heights) + 1e-9
    ordered = [y for _, y in sorted(points)]
    assert metrics.monotonicity_violations(points) == sum(b < a for a, b in pairwise(ordered))
    assert metrics.saturation_point(points, 0) == min(x for x, y in points if y == max(heights))
    for metric in (metrics.scaling, metrics.slope_per_doubling, metrics.area_under_curve):
        assert metric(points[::-1]) == pytest.approx(metric(points))


def test_control_counts_runs_within_their_limits() -> None:
    points = [(1024.0, 0.0), (2100.0, 0.0), (3000.0, 0.0), (9000.0, 0.0)]
    assert metrics.control(points, [1024, 2048, 4096, 8192]) == 50
    assert metrics.control(points, [(1024, None), (None, 2100), (3001, 4096), (None, None)]) == 75
    with pytest.raises(ValueError, match="needs a limit"):
        metrics.control(points, [1024])
    with pytest.raises(ValueError, match="low end"):
        metrics.control(points, [(2, 1), 1, 1, 1])


def test_saturation() -> None:
    points = [(500.0, 10.0), (1000.0, 49.0), (2000.0, 45.0), (4000.0, 50.0)]
    assert metrics.saturation_point(points) == 1000
    assert metrics.saturation_point(points, 0.5) == 4000
    assert metrics.monotonicity_violations(points) == 1
    assert metrics.monotonicity_violations(points, tolerance=4) == 0
    with pytest.raises(ValueError, match="tolerance"):
        metrics.saturation_point(points, -1)


@pytest.mark.parametrize("points", [[], [(500.0, 10.0)], [(0.0, 1.0), (5.0, 2.0)], [(5.0, 1.0), (6.0, float("nan"))]])
def test_what_is_no_curve_is_refused(points: list[tuple[float, float]]) -> None:
    for metric in (
        metrics.scaling,
        metrics.performance,
        metrics.slope_per_doubling,
        metrics.area_under_curve,
        metrics.saturation_point,
        metrics.monotonicity_violations,
        lambda p: metrics.control(p, [1.0] * len(p)),
    ):
        with pytest.raises(ValueError, match=r"two points|positive"):
            metric(points)


def test_equal_lengths_have_no_slope() -> None:
    with pytest.raises(ValueError, match="differ in tokens, and two"):
        metrics.scaling([(500, 1), (500, 2), (900, 3)])
    assert metrics.slope_per_doubling([(500, 1), (500, 2), (1000, 3)]) == pytest.approx(1.5)
    for metric in (metrics.slope_per_doubling, metrics.area_under_curve):
        with pytest.raises(ValueError, match="all have 500"):
            metric([(500, 1), (500, 2)])


# --- lengths


def test_single_samples_against_limits() -> None:
    tokens = [100, 200, 300, 400]
    assert metrics.sample_control(tokens, 300) == 0.75
    assert metrics.sample_control(tokens, (200, 300)) == 0.5
    assert metrics.sample_control(tokens, (200, None)) == 0.75
    assert metrics.sample_control(tokens, [100, 199, 300, 1000]) == 0.75
    assert metrics.overshoot(tokens, 250) == metrics.Overshoot(100, 0.5)
    assert metrics.overshoot(tokens, [100, 199, 300, 1000]) == metrics.Overshoot(1, 0.25)
    assert metrics.overshoot(tokens, (50, None)) == metrics.overshoot(tokens, 400) == metrics.Overshoot(0, 0)
    for refused in (([], 5), ([1, 2, 3], [1, 2])):
        with pytest.raises(ValueError, match="sample"):
            metrics.sample_control(*refused)


# --- counts


@settings(deadline=None)
@given(st.integers(1, 60), st.data())
def test_shares_of_subsets_are_those_of_exact_arithmetic(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    tau = data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))

    def at_least(j: int) -> Fraction:
        return Fraction(sum(comb(c, i) * comb(n - c, k - i) for i in range(j, k + 1)), comb(n, k))

    assert metrics.pass_at_k(n, c, k) == pytest.approx(float(at_least(1)), abs=1e-12)
    assert metrics.pass_hat_k(n, c, k) == pytest.approx(float(at_least(k)), abs=1e-12)
    needed = max(1, -(-Fraction(tau) * k // 1))
    assert metrics.g_pass_at_k(n, c, k, tau) == pytest.approx(float(at_least(int(needed))), abs=1e-9)


def test_counts_broadcast_and_large_pools_are_no_trouble() -> None:
    found = metrics.pass_at_k([4, 8], [[0], [2]], 4)
    assert found.shape == (2, 2) and found[0].tolist() == [0, 0] and found[1, 0] == 1
    assert metrics.pass_at_k(8192, 4, 4096) == pytest.approx(1 - 0.5**4, abs=1e-3)
    for n, c, k in ((4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0)):
        for estimator in (metrics.pass_at_k, metrics.pass_hat_k):
            with pytest.raises(ValueError, match="0 <= c <= n"):
                estimator(n, c, k)


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.data())
def test_latency_is_the_mean_order_statistic(tokens: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(tokens)))
    m = data.draw(st.integers(1, k))
    expected = np.mean([sorted(subset)[m - 1] for subset in combinations(tokens, k)])
    assert metrics.short_m_latency(tokens, m, k) == pytest.approx(expected)


def test_latency_refuses_impossible_counts() -> None:
    for m, k in ((0, 1), (3, 2), (1, 4)):
        with pytest.raises(ValueError, match="1 <= m <= k"):
            metrics.short_m_latency([1, 2, 3], m, k)


# --- votes


def rule(name: str, weight: str = "score", m: int = 1) -> ParallelSpec:
    return ParallelSpec.model_validate({"rule": name, "n": 2, "weight": weight, "m": m})


def listed(pool: Sequence[Sample], k: int, how: ParallelSpec) -> float:
    """Mean credit over all k-subsets, each decided as the grade stage does."""
    credits = []
    for subset in combinations(pool, k):
        voters = [Voter(None if s.answer is None else str(s.answer), int(s.tokens), s.weight) for s in subset]
        winners = decide(voters, how, lambda a, b: a == b).winners
        credits.append(sum(subset[i].correct for i in winners) / len(winners) if winners else 0.0)
    return float(np.mean(credits))


@st.composite
def pools(draw: Any, most: int = 8) -> tuple[list[Sample], int]:
    right = draw(st.sets(st.sampled_from("abcd"), max_size=2))
    answers = draw(st.lists(st.sampled_from([None, "a", "a", "b", "c", "d"]), min_size=1, max_size=most))
    tokens, weights = st.sampled_from([0, 1, 2, 5, 9, 9, 100]), st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.7])
    return [Sample(a, a in right, draw(tokens), draw(weights)) for a in answers], draw(st.integers(1, len(answers)))


@settings(max_examples=60, deadline=None)
@given(pools(), st.integers(1, 5))
def test_votes_are_the_mean_over_all_subsets(given_: tuple[list[Sample], int], m: int) -> None:
    pool, k = given_
    for found, how in (
        (metrics.maj_at_k(pool, k), rule("majority")),
        (metrics.weighted_at_k(pool, k), rule("weighted")),
        (metrics.weighted_at_k(pool, k, "length"), rule("weighted", "length")),
        (metrics.shortest_m_at_k(pool, m, k), rule("shortest", m=m)),
        (metrics.best_of_n_at_k(pool, k), rule("best")),
    ):
        assert found.exact, how
        assert found.value == pytest.approx(listed(pool, k, how), abs=1e-9), how


@pytest.fixture
def crowd() -> list[Sample]:
    """48 samples, five answers, scores and lengths all different."""
    rng = np.random.default_rng(0)
    answers = rng.choice([None, 0, 1, 2, 3, 4], 48, p=[0.1, 0.3, 0.3, 0.1, 0.1, 0.1])
    return [
        Sample(a, a == 0, int(t), float(w))
        for a, t, w in zip(answers, rng.integers(50, 9999, 48), rng.random(48), strict=True)
    ]


def test_what_is_too_varied_is_drawn_and_says_so(crowd: list[Sample]) -> None:
    found = metrics.weighted_at_k(crowd, 16)
    assert not found.exact and found.subsets == 10_000 and 0 < found.error < 0.005
    assert found == metrics.weighted_at_k(crowd, 16) != metrics.weighted_at_k(crowd, 16, seed=1)
    assert metrics.weighted_at_k(crowd, 48).exact  # one subset
    assert metrics.weighted_at_k([s._replace(weight=0.5) for s in crowd], 16) == metrics.maj_at_k(crowd, 16)


def test_drawn_and_counted_agree(crowd: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    few = [s._replace(weight=round(s.weight, 1), tokens=s.tokens // 1000) for s in crowd]

    def all_rules() -> list[Expected]:
        return [
            metrics.maj_at_k(few, 9),
            metrics.weighted_at_k(few, 9),
            metrics.weighted_at_k(few, 9, "length"),
            metrics.shortest_m_at_k(few, 3, 9),
        ]

    exact = all_rules()
    monkeypatch.setattr(votes, "LARGEST", 10)
    for counted, drawn in zip(exact, all_rules(), strict=True):
        assert counted.exact and not drawn.exact
        assert abs(counted.value - drawn.value) < 4 * drawn.error


def test_large_pools_are_counted(crowd: list[Sample]) -> None:
    """Copies of a pool approach drawing with replacement; 960 samples are within the range of floats."""
    many = crowd * 20
    assert metrics.maj_at_k(many, 480).exact
    share = pytest.approx(np.mean([s.correct for s in crowd]))
    assert metrics.maj_at_k(many, 1).value == share == metrics.best_of_n_at_k(many, 1).value
    assert metrics.maj_at_k(many * 2, 3).exact is False
    assert metrics.weighted_at_k([("a", True, 5, i / 7) for i in range(1500)], 10) == Expected(1.0)


def test_pools_must_hold_the_subsets() -> None:
    for k in (0, 3):
        with pytest.raises(ValueError, match="1 <= k <= samples"):
            metrics.maj_at_k([("a", True), (None, False)], k)
    with pytest.raises(ValueError, match="must vote"):
        metrics.shortest_m_at_k([("a", True)], 0, 1)
    assert metrics.maj_at_k([(None, False)] * 3, 2).value == 0
    assert metrics.best_of_n_at_k([(None, False)] * 3, 2).value == 0


def test_subset_sums_give_up_in_time() -> None:
    assert counting.subset_sums([0.1, 0.2, 0.2], 2, 99) == {
        (1, 0.1): 1,
        (1, 0.2): 2,
        (2, 0.1 + 0.2): 2,
        (2, 0.4): 1,
    }
    assert counting.subset_sums([2.0**i for i in range(40)], 40, 500) is None
