"""Intervals and tests hold on planted truths: what is published, what can be counted, and what simulations show."""

from __future__ import annotations

import random
from collections import Counter
from itertools import product
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s1sweep.analysis import intervals, stats
from s1sweep.analysis.intervals import clustered, wilson
from s1sweep.analysis.metrics import control, performance, scaling, slope_per_doubling
from s1sweep.analysis.metrics import curve as metrics
from s1sweep.analysis.published import published

# --- intervals


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17:857), Table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(correct: int, n: int, low: float, high: float) -> None:
    assert wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_stays_in_range_and_refuses_nonsense() -> None:
    assert wilson(0, 7)[0] == 0.0
    assert wilson(7, 7)[1] == 1.0
    for correct, n in ((0, 0), (3, 2), (-1, 4)):
        with pytest.raises(ValueError, match="share needs"):
            wilson(correct, n)


def test_clustered_interval_is_the_bootstrap_that_draws() -> None:
    dice = random.Random(3)
    chances = [dice.random() for _ in range(60)]
    tallies = [(sum(dice.random() < chance for _ in range(4)), 4) for chance in chances]
    means = np.array([correct / total for correct, total in tallies])
    drawn = means[np.random.default_rng(0).integers(0, 60, (40_000, 60))].mean(axis=1)
    (low, high), how = clustered(tallies)
    assert (low, high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=1.5 / 240)
    assert "bootstrap over 60 questions" in how
    # Samples of one question are no independent evidence: wider than if all readouts were.
    assert high - low > 1.2 * (lambda i: i[1] - i[0])(wilson(sum(c for c, _ in tallies), 240))


def test_clustered_interval_of_equal_scores_has_width() -> None:
    (low, high), how = clustered([(4, 4)] * 20)
    assert (low, high) == wilson(20, 20)
    assert how.startswith("Wilson over 20 questions")


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_resampled_sums_are_counted_right_with_and_without_numpy(values: list[int]) -> None:
    n = len(values)
    sums = Counter(sum(draw) for draw in product(values, repeat=n))
    for way in (intervals.resampled_sum, intervals._resampled_sum):
        cdf = way(Counter(values), n, 4 * n)
        for s in range(4 * n + 1):
            assert cdf(s) == pytest.approx(sum(c for v, c in sums.items() if v <= s) / n**n, abs=1e-9)


# --- bootstrap

DISCORDANCE = [
    (arm, int(cell["gained"].value or 0), int(cell["lost"].value or 0), seed)
    for arm, cell in published("table2_discordance").rows.items()
    for seed in ((0, 1) if arm != "1K-longest" else (0,))
]


def planted(gained: int, lost: int, n: int = 30) -> tuple[list[float], list[float]]:
    rest = n - gained - lost
    return [1.0] * gained + [0.0] * lost + [1.0] * rest, [0.0] * gained + [1.0] * lost + [1.0] * rest


@pytest.mark.parametrize(("arm", "gained", "lost", "seed"), DISCORDANCE)
def test_paired_bootstrap_gives_the_intervals_of_table_2(arm: str, gained: int, lost: int, seed: int) -> None:
    printed = published("table2").rows[arm]["AIME24"]
    found = [round(100 * x, 1) for x in stats.paired_bootstrap(*planted(gained, lost), seed=seed)]
    if arm == "1K-longest":  # the 97.5th percentile falls between two values, and the seed picks one
        assert found[0] == pytest.approx(printed.low, abs=3.4) and found[1] in (0.0, 3.3)
    else:
        assert found == [printed.low, printed.high]


def test_bootstraps_need_pairs() -> None:
    for a, b in (([], []), ([1], [1, 0])):
        for way in (stats.paired_bootstrap, stats.paired_bca, stats.sign_flip):
            with pytest.raises(ValueError, match="pairs are needed"):
                way(a, b)
    with pytest.raises(ValueError, match="1 are not"):
        stats.paired_bootstrap([1, float("nan")], [1, 0])


def test_samples_of_a_question_are_resampled_together() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((40, 1)) < 0.6, rng.random((40, 1)) < 0.4
    repeated = stats.paired_bootstrap(a.repeat(16, axis=1), b.repeat(4, axis=1))
    assert repeated == stats.paired_bootstrap(a[:, 0], b[:, 0])  # saying it again is no evidence


def test_bca_is_the_percentile_interval_where_nothing_is_skew_and_moves_where_it_is() -> None:
    a = np.repeat([1.0, 0.0, 0.5], [20, 20, 60])
    even = stats.paired_bca(a, np.full(100, 0.5))
    assert even == pytest.approx(stats.paired_bootstrap(a, np.full(100, 0.5)), abs=0.011)
    skew = np.repeat([1.0, 0.0], [4, 96])
    low, high = stats.paired_bca(skew, np.zeros(100))
    plain = stats.paired_bootstrap(skew, np.zeros(100))
    assert low > plain[0] and high > plain[1]
    assert stats.paired_bca([1, 1], [0, 0]) == (1.0, 1.0)


def curve(
    questions: int, slope: float, seed: int, points: int = 5, samples: int = 4, noise: float = 0.2
) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy that rises by `slope` points per doubling, and tokens; questions differ in difficulty and length."""
    rng = np.random.default_rng(seed)
    doublings = np.arange(points)
    level = rng.uniform(-0.3, 0.3, questions)
    chance = np.clip(0.4 + level + slope / 100 * doublings[:, None], 0, 1)
    accuracy = (rng.random((samples, points, questions)) < chance).transpose(1, 2, 0)
    mean = 500 * 2.0 ** doublings[:, None, None]
    return accuracy.astype(float), mean * rng.lognormal(-(noise**2) / 2, noise, (points, questions, samples))


def test_curve_intervals_hold_the_metrics_and_are_those_of_resampled_questions() -> None:
    accuracy, tokens = curve(50, 4, seed=1)
    limits = [550.0, 1100.0, 1900.0, 4100.0, 8000.0]
    found = stats.curve_intervals(accuracy, tokens, limits, n_resamples=500)
    points = list(zip(tokens.mean(axis=(1, 2)), 100 * accuracy.mean(axis=(1, 2)), strict=True))
    assert found["control"].value == control(points, limits)
    assert found["scaling"].value == pytest.approx(scaling(points))
    assert found["performance"].value == pytest.approx(performance(points))
    assert found["slope_per_doubling"].value == pytest.approx(slope_per_doubling(points))
    assert all(e.low <= e.value <= e.high and e.undefined == 0 for e in found.values())
    assert 0 <= found["control"].low < found["control"].high <= 100
    # The same by hand.
    draws = np.random.default_rng(9).integers(0, 50, (500, 50))
    slopes = [slope_per_doubling(_points(accuracy[:, d], tokens[:, d])) for d in draws]
    by_hand = tuple(np.percentile(slopes, [2.5, 97.5]))
    assert (found["slope_per_doubling"].low, found["slope_per_doubling"].high) == pytest.approx(by_hand, abs=0.5)


def _points(accuracy: np.ndarray, tokens: np.ndarray) -> list[tuple[float, float]]:
    return list(zip(tokens.mean(axis=(1, 2)), 100 * accuracy.mean(axis=(1, 2)), strict=True))


def test_points_of_a_curve_share_their_questions() -> None:
    """Difficulty moves all points together, so it leaves a slope alone and moves the level."""
    easy = np.random.default_rng(0).random(40) < 0.5
    accuracy = np.stack([easy, easy, easy]).astype(float)
    tokens = np.outer([500, 1000, 2000], np.ones(40))
    found = stats.curve_intervals(accuracy, tokens, n_resamples=300)
    assert found["scaling"].low == pytest.approx(0) == found["scaling"].high
    assert found["area"].high - found["area"].low > 20


def test_resamples_without_a_value_are_counted() -> None:
    tokens = np.array([[100.0, 300.0], [100.0, 500.0]])
    found = stats.bootstrap_curve([[0, 0], [0, 1]], tokens, lambda t, a: (a[:, 1] - a[:, 0]) / (t[:, 1] - t[:, 0]))
    assert found.undefined == pytest.approx(0.25, abs=0.02)  # question 0 twice: both points think equally long
    with pytest.raises(ValueError, match="equally long"):
        stats.curve_intervals([[0, 1], [1, 1]], [[5, 5], [5, 5]])
    with pytest.raises(ValueError, match="of one curve"):
        stats.curve_intervals([[0, 1], [1, 1]], [[5, 5, 5], [6, 6, 6]])


def test_bootstrap_of_a_slope_covers_the_planted_one() -> None:
    hits = 0
    for seed in range(100):
        accuracy, tokens = curve(60, 5, seed, noise=0.05)
        found = stats.curve_intervals(accuracy, tokens, n_resamples=400)["slope_per_doubling"]
        hits += found.low <= 5 <= found.high
    assert 88 <= hits <= 99


# --- the best point


def test_the_maximum_flatters_and_the_corrected_one_does_not() -> None:
    """Eight points of one truth: choosing among them yields that truth, and the maximum says more."""
    naive, corrected, hits = [], [], 0
    for seed in range(150):
        accuracy = np.random.default_rng(seed).random((8, 50)) < 0.5
        best = stats.best_of_curve(accuracy, repeats=10, n_resamples=200, seed=seed)
        naive.append(best.naive)
        corrected.append(best.value)
        hits += best.low <= 0.5 <= best.high
        assert best.naive == accuracy.mean(axis=1)[best.point] and sum(best.chosen) == pytest.approx(1)
    assert np.mean(naive) > 0.58
    assert np.mean(corrected) == pytest.approx(0.5, abs=0.02)
    assert hits >= 137


def test_a_point_that_stands_out_needs_no_correction() -> None:
    rng = np.random.default_rng(0)
    accuracy = rng.random((3, 200)) < np.array([[0.1], [0.8], [0.2]])
    best = stats.best_of_curve(accuracy)
    assert best.point == 1 and best.chosen == (0.0, 1.0, 0.0)
    assert best.value == pytest.approx(best.naive)
    assert best.low < 0.8 < best.high and best.high - best.low < 0.15
    with pytest.raises(ValueError, match="two points"):
        stats.best_of_curve([[1, 0, 1]])


def test_what_dev_chooses_is_judged_on_test() -> None:
    dev = [[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]
    test = np.repeat([[[0.0, 0]], [[1, 0]], [[1, 1]]], 20, axis=1)
    found = stats.chosen_on_dev(dev, test)
    assert (found.point, found.value) == (1, 0.5)  # of a tie the first
    assert found.low < 0.5 < found.high
    with pytest.raises(ValueError, match="same points"):
        stats.chosen_on_dev(dev, test[:2])


# --- runs


def sweep(runs: tuple[int, int], questions: int, run_sd: float, rng: np.random.Generator, own: float = 0.1) -> Any:
    """Binary outcomes of two arms; arm a is 5 points better. Questions differ in difficulty, and in how an arm suits
    them with sd `own`; each run has an effect of its own on all questions.
    """
    difficulty = 0.15 + 0.7 * rng.random(questions)
    suits = own * rng.standard_normal(questions)
    arms = []
    for number, shift in zip(runs, (0.05 + suits, 0.0), strict=True):
        chance = difficulty + shift + run_sd * rng.standard_normal((number, 1))
        arms.append((rng.random((number, questions)) < np.clip(chance, 0, 1)).astype(float))
    return arms


def coverage(n: int, runs: tuple[int, int], questions: int, run_sd: float, own: float = 0.1) -> float:
    rng = np.random.default_rng(7)
    found = [stats.contrast_runs(*sweep(runs, questions, run_sd, rng, own)) for _ in range(n)]
    return float(np.mean([c.low <= 0.05 <= c.high for c in found]))


@pytest.mark.parametrize(("runs", "questions", "run_sd"), [((3, 3), 100, 0.03), ((5, 5), 30, 0.0)])
def test_intervals_over_runs_cover_the_planted_difference(runs: tuple[int, int], questions: int, run_sd: float) -> None:
    assert 0.93 <= coverage(800, runs, questions, run_sd) <= 0.975


@pytest.mark.long
@pytest.mark.parametrize("own", [0.0, 0.1])
@pytest.mark.parametrize("questions", [30, 100, 200])
@pytest.mark.parametrize("runs", [(3, 3), (5, 5), (10, 10), (3, 5)])
def test_coverage_over_simulated_sweeps(runs: tuple[int, int], questions: int, own: float) -> None:
    found = {sd: coverage(4000, runs, questions, sd, own) for sd in (0.0, 0.01, 0.02, 0.03, 0.05)}
    print(f"\nruns {runs}, {questions} questions, own {own}:", {sd: f"{100 * c:.1f}" for sd, c in found.items()})
    assert all(0.93 <= share <= 0.97 for share in found.values()), found


def test_two_checkpoints_are_not_two_rules() -> None:
    """With runs 5 points apart and one run of each arm, the interval speaks of these two and misses the rules'."""
    rng = np.random.default_rng(0)
    found = [stats.contrast_runs(*sweep((1, 1), 200, 0.05, rng)) for _ in range(300)]
    assert {c.level for c in found} == {"checkpoints"} and found[0].runs == (1, 1)
    assert np.mean([c.low <= 0.05 <= c.high for c in found]) < 0.85
    a, b = sweep((3, 1), 50, 0.05, rng)
    assert stats.contrast_runs(a, b).level == "checkpoints"
    assert stats.contrast_runs(a, a[:2]).level == "rules"


def test_null_arms_are_rarely_told_apart() -> None:
    rng = np.random.default_rng(1)
    p = []
    for _ in range(500):
        _, both = sweep((1, 8), 60, 0.03, rng)
        p.append(stats.contrast_runs(both[:4], both[4:]).p)
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.08


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(1, 1), (2, 3), (4, 4)]), st.sampled_from([0.8, 0.95]))
def test_the_p_value_and_the_interval_agree(seed: int, runs: tuple[int, int], level: float) -> None:
    found = stats.contrast_runs(*sweep(runs, 25, 0.05, np.random.default_rng(seed)), confidence=level)
    assert found.low <= found.estimate <= found.high
    assert (found.p < 1 - level) == (not found.low <= 0 <= found.high)
    assert found.n_questions == 25 and found.runs == runs


def test_contrast_of_equal_arms_and_refusals() -> None:
    same = np.ones((3, 10))
    found = stats.contrast_runs(same, same)
    assert (found.estimate, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert stats.contrast_runs(same, 0 * same).p == 0
    samples = np.random.default_rng(0).random((3, 10, 4))
    assert stats.contrast_runs(samples, same) == stats.contrast_runs(samples.mean(axis=2), same)
    for a, b in ((same, same[:, :9]), (same[:, :1], same[:, :1]), (same[0], same)):
        with pytest.raises(ValueError, match="questions"):
            stats.contrast_runs(a, b)


# --- runs of whole curves

RISES = {"scaling": ([0.0, 0.03, 0.06, 0.09], [0.0] * 4), "performance": ([0.0, 0.12, 0.0, 0.0], [0.05, 0.0, 0.0, 0.0])}
OF: dict[str, Any] = {"scaling": metrics.scaling_of, "performance": metrics.performance_of}
TRUTH = {"scaling": 3.0, "performance": 7.0}  # points per doubling; points


def curve_sweep(
    metric: str, runs: tuple[int, int], questions: int, run_sd: float, rng: np.random.Generator
) -> list[stats.CurveRuns]:
    """Two arms whose curves over four caps differ as planted. A run lifts all its points, tilts its curve by half as
    much, and thinks longer or shorter than others.
    """
    doublings = np.arange(4.0) - 1.5
    difficulty = 0.3 + 0.3 * rng.random(questions)
    suits = 0.07 * rng.standard_normal(questions)
    arms = []
    for number, rises, shift in zip(runs, RISES[metric], (suits, 0.0), strict=True):
        lift, tilt = run_sd * rng.standard_normal((2, number, 1, 1))
        chance = difficulty + shift + np.array(rises)[:, None] + lift + tilt / 2 * doublings[:, None]
        accuracy = (rng.random((number, 4, questions)) < np.clip(chance, 0, 1)).astype(float)
        noise = rng.lognormal(-0.02, 0.2, accuracy.shape) * rng.lognormal(-0.001, 0.05, (number, 1, 1))
        arms.append(stats.CurveRuns(accuracy, 500 * 2.0 ** np.arange(4)[:, None] * noise, OF[metric]))
    return arms


def pooled(arm: stats.CurveRuns) -> stats.CurveRuns:
    """The mean of an arm's runs as if it were one: what is left to resample are questions."""
    accuracy, tokens = (np.mean(values, axis=0, keepdims=True) for values in (arm.accuracy, arm.tokens))
    return stats.CurveRuns(accuracy, tokens, arm.statistic)


def curve_coverage(
    n: int, metric: str, runs: tuple[int, int], questions: int, run_sd: float, over_runs: bool = True
) -> float:
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(n):
        arms = curve_sweep(metric, runs, questions, run_sd, rng)
        arms = arms if over_runs else [pooled(arm) for arm in arms]
        found = stats.contrast_curves(*arms, maximum=metric == "performance", n_resamples=500)
        hits += found.low <= TRUTH[metric] <= found.high
    return hits / n


@pytest.mark.parametrize("metric", ["scaling", "performance"])
def test_curves_of_several_runs_need_runs_resampled(metric: str) -> None:
    """An interval over questions alone is too narrow for what differs between runs; one over both is not."""
    planted = (150, metric, (4, 4), 100, 0.05)
    assert curve_coverage(*planted, over_runs=False) < 0.85
    assert curve_coverage(*planted) >= 0.91


@pytest.mark.long
@pytest.mark.parametrize("metric", ["scaling", "performance"])
@pytest.mark.parametrize("questions", [30, 100])
@pytest.mark.parametrize("runs", [(3, 3), (10, 10), (3, 5)])
def test_coverage_of_curves_over_simulated_sweeps(runs: tuple[int, int], questions: int, metric: str) -> None:
    found = {sd: curve_coverage(2000, metric, runs, questions, sd) for sd in (0.0, 0.02, 0.05)}
    print(f"\n{metric}, runs {runs}, {questions} questions:", {sd: f"{100 * c:.1f}" for sd, c in found.items()})
    # 93 to 97 within two standard errors of 2000 simulations.
    assert all(0.92 <= share <= 0.98 for share in found.values()), found


def test_a_curves_points_share_their_runs() -> None:
    """What lifts all points of a run alike leaves a slope alone and moves the level."""
    lifts = np.array([0.1, 0.3, 0.5])[:, None, None]
    accuracy = np.broadcast_to(lifts, (3, 3, 40))
    tokens = np.broadcast_to(np.array([500.0, 1000.0, 2000.0])[:, None], (3, 3, 40))
    slope, best = (
        stats.contrast_curves(*[stats.CurveRuns(accuracy, tokens, of)] * 2)
        for of in (metrics.scaling_of, metrics.performance_of)
    )
    assert (slope.low, slope.high) == pytest.approx((0, 0))
    alone = stats.contrast_runs(accuracy[:, 0], accuracy[:, 0])
    assert (best.low, best.high) == pytest.approx((100 * alone.low, 100 * alone.high), rel=0.05)
    assert best.level == "rules" and best.df == pytest.approx(alone.df, rel=1e-3)


def test_a_linear_statistic_of_curves_has_the_interval_of_contrasts() -> None:
    rng = np.random.default_rng(3)
    for run_sd in (0.0, 0.02, 0.05):
        arms = curve_sweep("scaling", (4, 6), 80, run_sd, rng)
        level = [stats.CurveRuns(arm.accuracy, arm.tokens, lambda _, scores: scores.mean(axis=-1)) for arm in arms]
        found = stats.contrast_curves(*level)
        same = stats.contrast_runs(*(np.mean(arm.accuracy, axis=1) for arm in arms))
        assert found.estimate == pytest.approx(100 * same.estimate)
        assert found.high - found.low == pytest.approx(100 * (same.high - same.low), rel=0.08)


def test_single_runs_resample_questions_and_speak_of_checkpoints() -> None:
    one, many = (curve_sweep("scaling", runs, 60, 0.05, np.random.default_rng(1)) for runs in ((1, 1), (3, 1)))
    found = stats.contrast_curves(*one)
    assert (found.level, found.runs) == ("checkpoints", (1, 1))
    assert stats.contrast_curves(*many).level == "checkpoints"
    accuracy, tokens = (np.concatenate([getattr(arm, name)[0] for arm in one]) for name in ("accuracy", "tokens"))
    by_hand = stats.bootstrap_curve(
        accuracy, tokens, lambda t, a: metrics.scaling_of(t[:, :4], a[:, :4]) - metrics.scaling_of(t[:, 4:], a[:, 4:])
    )
    assert (found.estimate, found.low, found.high) == pytest.approx((by_hand.value, by_hand.low, by_hand.high))
    few = stats.CurveRuns(np.ones((1, 4, 59)), np.ones((1, 4, 59)), metrics.scaling_of)
    with pytest.raises(ValueError, match="same questions"):
        stats.contrast_curves(one[0], few)
    with pytest.raises(ValueError, match="equally long"):
        stats.contrast_curves(few, few)


def test_a_flat_curves_maximum_is_corrected_against_one_that_stands_out() -> None:
    """Eight points of one truth flatter, a point that stands out does not; their difference is 20 points."""
    errors = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        flat, peak = rng.random((1, 8, 60)) < 0.5, rng.random((1, 2, 60)) < np.array([[0.1], [0.7]])
        arms = [stats.CurveRuns(one, np.ones(one.shape), metrics.performance_of) for one in (peak, flat)]
        errors.append([stats.contrast_curves(*arms, maximum=m, n_resamples=200).estimate - 20 for m in (False, True)])
    naive, corrected = np.mean(errors, axis=0)
    assert naive < -7 and abs(corrected) < 0.7 * abs(naive)


# --- tests


def test_mcnemar_by_hand() -> None:
    assert stats.mcnemar_exact(*planted(0, 7)) == pytest.approx(2 / 2**7)
    assert stats.mcnemar_exact(*planted(2, 7)) == pytest.approx(2 * (1 + 9 + 36) / 2**9)
    assert stats.mcnemar_exact([1, 0], [1, 0]) == 1.0
    with pytest.raises(ValueError, match="0 or 1"):
        stats.mcnemar_exact([0.5, 1], [1, 0])


@settings(deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_sign_flips_are_counted_right(differences: list[int]) -> None:
    a, b = np.maximum(differences, 0) / 3, np.maximum([-d for d in differences], 0) / 3
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in product((-1, 1), repeat=len(a))
    ]
    exact = np.mean([s >= abs(sum(differences)) for s in sums])
    assert stats.sign_flip(a, b) == pytest.approx(exact)


def test_sign_flips_agree_with_mcnemar_and_are_drawn_where_they_are_many() -> None:
    assert stats.sign_flip(*planted(2, 7)) == pytest.approx(stats.mcnemar_exact(*planted(2, 7)))
    rng = np.random.default_rng(0)
    a = rng.random((200, 4))
    assert stats.sign_flip(a + 0.2, a, seed=1) == pytest.approx(2 / 10_001)  # never 0
    assert stats.sign_flip(a, rng.random((200, 4))) > 0.05


def test_families() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert stats.holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.benjamini_hochberg(p) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert stats.holm([]).size == 0
    with pytest.raises(ValueError, match="p-values"):
        stats.holm([0.5, 1.5])


def test_equivalence_needs_questions_not_just_equal_numbers() -> None:
    few = stats.equivalent_to_published([1] * 15 + [0] * 15, 50.0, margin=5)
    many = stats.equivalent_to_published([1] * 1500 + [0] * 1500, 50.0, margin=5)
    assert few.difference == many.difference == 0
    assert not few.equivalent and many.equivalent and many.p < 0.001
    assert few.low < -5 and few.high > 5
    own = stats.equivalent_to_published([1] * 1500 + [0] * 1500, (15, 30), margin=5)
    assert not own.equivalent and own.high - own.low > few.high - few.low - 3
    for scores, theirs, margin in (
        ([1, 0], 50.0, 0.0),
        ([1, 0], 101.0, 5.0),
        ([1, 0], (31, 30), 5.0),
        ([1], 50.0, 5.0),
    ):
        with pytest.raises(ValueError):
            stats.equivalent_to_published(scores, theirs, margin)


@pytest.mark.parametrize("theirs", ["fixed", "binomial", "paired"])
def test_equivalence_errs_at_its_rate_at_the_margin(theirs: str) -> None:
    """A true difference of just the margin is called equivalent in about 5 % of cases."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(2000):
        ours = rng.random(300) < 0.6
        if theirs == "paired":
            found = stats.equivalent(ours, np.where(rng.random(300) < 0.4, rng.random(300) < 0.35, ours), margin=10)
        elif theirs == "fixed":
            found = stats.equivalent_to_published(ours, 50.0, margin=10)
        else:
            found = stats.equivalent_to_published(ours, (int(rng.binomial(300, 0.5)), 300), margin=10)
        assert found.equivalent == (found.low >= -10 and found.high <= 10)
        wrong += found.equivalent
    assert 0.03 <= wrong / 2000 <= 0.065


# --- power


def reject(a: np.ndarray, b: np.ndarray, alpha: float) -> float:
    """Share of simulations (n, questions) whose paired z test finds a difference."""
    d = a - b
    z = d.mean(axis=1) / (d.std(axis=1, ddof=1) / np.sqrt(d.shape[1]))
    return float((np.abs(z) > NormalDist().inv_cdf(1 - alpha / 2)).mean())


def test_questions_needed_give_the_power_at_a_discordance() -> None:
    n = stats.questions_needed(0.05, baseline=0.5, discordance=0.2)
    assert n == 621  # (1.959964 + 0.841621)^2 (0.2 - 0.05^2) / 0.05^2
    rng = np.random.default_rng(0)
    u = rng.random((2000, n))
    a, b = (u < 0.125).astype(float), ((u >= 0.125) & (u < 0.2)).astype(float)
    assert reject(a, b, 0.05) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("samples", "tests"), [(1, 1), (4, 1), (4, 10)])
def test_questions_needed_give_the_power_with_samples(samples: int, tests: int) -> None:
    """Difficulty is a beta distribution, whose intraclass correlation is 1 / (1 + a + b)."""
    plan: dict[str, Any] = {"baseline": 0.5, "correlation": 1 / 3, "samples": samples, "tests": tests}
    n = stats.questions_needed(0.06, **plan)
    rng = np.random.default_rng(samples)
    difficulty = 0.06 + 0.88 * rng.random((2000, n))
    # What remains of the correlation after the range was cut to leave room for the shift.
    plan["correlation"] = float(difficulty.var() / 0.25)
    n = stats.questions_needed(0.06, **plan)
    difficulty = 0.06 + 0.88 * rng.random((2000, n))
    a, b = rng.binomial(samples, difficulty + 0.06), rng.binomial(samples, difficulty)
    assert reject(a / samples, b / samples, 0.05 / tests) == pytest.approx(0.8, abs=0.04)


def test_samples_help_only_against_chance() -> None:
    plan: dict[str, Any] = {"baseline": 0.5, "discordance": 0.4, "correlation": 0.5}
    needed = [stats.questions_needed(0.05, **plan, samples=k) for k in (1, 2, 8, 1000)]
    assert needed == sorted(needed, reverse=True)
    between = 0.4 - 0.05**2 - 0.5 * (0.25 + 0.55 * 0.45)
    assert needed[-1] == pytest.approx(2.801585**2 * between / 0.05**2, rel=0.01)
    greedy = {"baseline": 0.5, "correlation": 1.0}
    assert stats.questions_needed(0.05, **greedy) == stats.questions_needed(0.05, **greedy, samples=64)
    assert stats.questions_needed(0.05, **plan, tests=12) > 1.5 * needed[0]


@settings(deadline=None)
@given(st.floats(0.1, 0.6), st.floats(0.05, 0.95), st.integers(1, 16), st.integers(100, 3000))
def test_minimum_detectable_is_the_inverse(baseline: float, correlation: float, samples: int, n: int) -> None:
    plan: dict[str, Any] = {"baseline": baseline, "correlation": correlation, "samples": samples}
    least = stats.minimum_detectable(n, **plan)
    assert stats.questions_needed(least, **plan) == pytest.approx(n, abs=1)


def test_power_refuses_what_cannot_be() -> None:
    for difference, plan in (
        (0.0, {"baseline": 0.5, "discordance": 0.2}),
        (0.1, {"baseline": 0.5}),
        (0.1, {"baseline": 0.95, "discordance": 0.2}),
        (0.1, {"baseline": 0.5, "discordance": 0.05}),
        (0.1, {"baseline": 0.5, "discordance": 0.2, "samples": 4}),
        (0.1, {"baseline": 0.5, "discordance": 0.2, "correlation": 0.1, "samples": 4}),
        (0.1, {"baseline": 0.5, "discordance": 0.2, "power": 1.0}),
    ):
        with pytest.raises(ValueError):
            stats.questions_needed(difference, **plan)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ask more"):
        stats.minimum_detectable(5, baseline=0.9, discordance=0.3)
