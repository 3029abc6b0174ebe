"""Wilson's interval against published values, and counting."""

import math

import pytest

from tempovla.rollout.metrics import SuccessRate, wilson_interval


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
