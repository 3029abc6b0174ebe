"""Wilson's interval and Student's against published values, and counting."""

import math

import numpy as np
import pytest

from tempovla.rollout.metrics import MeanReturn, SuccessRate, t_quantile, wilson_interval


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [
        # Newcombe (1998), table I: 95% score intervals without continuity correction.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_intervals_are_those_of_the_literature(successes, episodes, low, high):
    assert wilson_interval(successes, episodes) == pytest.approx((low, high), abs=5e-5)


def test_the_ends_solve_the_score_equation():
    """Seen from either end, the observed rate is z standard errors away (Wilson, 1927)."""
    z = 2.5
    for end in wilson_interval(7, 20, z):
        assert abs(7 / 20 - end) == pytest.approx(z * math.sqrt(end * (1 - end) / 20))


def test_the_interval_mirrors_and_holds_its_rate():
    for successes in range(21):
        low, high = wilson_interval(successes, 20)
        assert 0 <= low <= successes / 20 <= high <= 1
        assert wilson_interval(20 - successes, 20) == pytest.approx((1 - high, 1 - low))
    assert wilson_interval(0, 1)[0] == 0.0
    assert wilson_interval(1, 1)[1] == 1.0


def test_more_episodes_say_more():
    widths = [high - low for low, high in (wilson_interval(n // 2, n) for n in (2, 20, 200, 2000))]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(("successes", "episodes"), [(0, 0), (3, 2), (-1, 2)])
def test_impossible_counts_are_refused(successes, episodes):
    with pytest.raises(ValueError, match=f"{successes} successes of {episodes} episodes give no rate"):
        wilson_interval(successes, episodes)


def test_outcomes_are_counted():
    rate = SuccessRate.of([True, False, True, True])
    assert (rate.successes, rate.episodes, rate.rate) == (3, 4, 0.75)
    assert rate.interval == wilson_interval(3, 4)


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (19, 2.0930), (120, 1.9799)],
)
def test_quantiles_of_students_distribution_are_those_of_the_tables(degrees, quantile):
    assert t_quantile(degrees) == pytest.approx(quantile, abs=1e-4)


def test_the_interval_of_a_mean_return_follows_from_students_distribution():
    returns = MeanReturn.of([1.0, 2.0, 3.0, 6.0])
    assert (returns.mean, returns.episodes, returns.degrees) == (3.0, 4, 3)
    half = 3.1824463 * 2.1602469 / 2
    assert returns.interval == pytest.approx((3 - half, 3 + half))


def test_a_single_return_has_no_interval():
    assert MeanReturn.of([4.0]).interval is None
    assert MeanReturn.of_tasks([MeanReturn.of([4.0]), MeanReturn.of([1.0, 3.0])]) == MeanReturn(3.0, 3, None, 0)
    with pytest.raises(ValueError, match="run at least one episode"):
        MeanReturn.of([])


def test_tasks_count_alike_and_their_spread_is_that_within_them():
    few, many = MeanReturn.of([0.0, 2.0]), MeanReturn.of([99.0, 101.0, 99.0, 101.0])
    together = MeanReturn.of_tasks([few, many])
    assert (together.mean, together.episodes) == (50.5, 6)
    assert together.error == pytest.approx(math.hypot(few.error, many.error) / 2)
    assert together.degrees == 1  # (1 + 1/3)^2 / (1 + 1/27) = 1.71
    assert MeanReturn.of_tasks([MeanReturn.of([5.0, 5.0])]).interval == (5.0, 5.0)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = [
        low <= 10 <= high
        for low, high in (MeanReturn.of(list(generator.normal(10, 3, 5))).interval for _ in range(1000))
    ]
    assert 0.93 < np.mean(covered) < 0.97
