"""What paired outcomes say about a difference."""

from __future__ import annotations

import numpy as np
import pytest

from tempovla.rollout.paired import (
    MOST_ENUMERATED,
    RANDOM_FLIPS,
    PairedOutcomes,
    PairedReturns,
    return_verdict,
    verdict,
)


def test_pairs_are_counted_by_who_solved_them():
    pairs = [(True, True)] * 5 + [(True, False)] * 2 + [(False, True)] * 4 + [(False, False)] * 9
    outcomes = PairedOutcomes.of(pairs)
    assert outcomes == PairedOutcomes(both=5, only_first=2, only_second=4, neither=9)
    assert (outcomes.first.rate, outcomes.second.rate, outcomes.difference) == (0.35, 0.45, 0.1)
    with pytest.raises(ValueError, match="no pairs of episodes"):
        PairedOutcomes.of([])


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [(0, 0, 1.0), (1, 0, 1.0), (3, 3, 1.0), (0, 5, 2 / 32), (0, 6, 2 / 64), (1, 7, 2 * (1 + 8) / 256)],
)
def test_p_values_are_tosses_of_a_fair_coin(only_first, only_second, p_value):
    outcomes = PairedOutcomes(10, only_first, only_second, 10)
    assert outcomes.p_value == pytest.approx(p_value)
    mirrored = PairedOutcomes(10, only_second, only_first, 10)
    assert mirrored.p_value == outcomes.p_value
    assert mirrored.interval == pytest.approx((-outcomes.interval[1], -outcomes.interval[0]))


def test_the_interval_is_newcombes():
    """As published for this table (Fagerland, Lydersen and Laake, 2017)."""
    assert PairedOutcomes(1, 7, 1, 12).interval == pytest.approx((-0.507, -0.026), abs=5e-4)


def test_the_interval_stays_within_bounds_and_narrows_with_agreement():
    assert PairedOutcomes(0, 0, 5, 0).interval[1] == 1.0
    low, high = PairedOutcomes(40, 5, 5, 40).interval
    apart_low, apart_high = PairedOutcomes(20, 25, 25, 20).interval
    assert apart_low < low < 0 < high < apart_high


def test_words_say_who_is_better_or_that_nobody_knows():
    assert verdict(PairedOutcomes(10, 0, 9, 1)).startswith("B is better than A: +45.0 points")
    assert verdict(PairedOutcomes(10, 9, 0, 1)).startswith("A is better than B: -45.0 points")
    unclear = verdict(PairedOutcomes(10, 2, 4, 4))
    assert unclear.startswith("no evidence of a difference yet: +10.0 points")
    assert "differ this much in 69% of comparisons" in unclear
    assert verdict(PairedOutcomes(10, 0, 0, 10)).startswith("no difference: over 20 paired episodes")


def returns_of(*differences: float) -> PairedReturns:
    """A first policy whose returns are 1, 2, ..., and a second one whose returns differ by so much."""
    return PairedReturns.of([(index, index + difference) for index, difference in enumerate(differences, 1)])


@pytest.mark.parametrize(
    ("differences", "p_value"),
    [
        ((4,), 1.0),
        ((1, 2, 4), 2 / 8),
        ((-1, 2, 4), 4 / 8),
        ((1, -2, 4), 6 / 8),
        ((1, 2, -4), 1.0),
        ((0.1, 0.2, -0.3), 1.0),
        ((0, 1, 2, 4), 4 / 16),
        ((1, 1, 1, 1, 1, -1), 2 * (1 + 6) / 64),
    ],
)
def test_p_values_of_returns_count_the_signs_that_differ_at_least_as_much(differences, p_value):
    returns = returns_of(*differences)
    assert returns.is_exact
    assert returns.p_value == p_value


@pytest.mark.parametrize("pairs", [4, MOST_ENUMERATED, MOST_ENUMERATED + 5])
def test_exchanging_the_policies_exchanges_the_difference_alone(pairs):
    drawn = np.random.default_rng(pairs).normal(size=(pairs, 2))
    returns = PairedReturns.of(drawn.tolist())
    exchanged = PairedReturns.of(drawn[:, ::-1].tolist())
    assert (exchanged.first, exchanged.second) == (returns.second, returns.first)
    assert exchanged.difference == pytest.approx(-returns.difference)
    assert exchanged.p_value == returns.p_value
    if returns.interval is None:
        assert exchanged.interval is None
    else:
        assert exchanged.interval == pytest.approx((-returns.interval[1], -returns.interval[0]))


@pytest.mark.parametrize("pairs", [1, 6, MOST_ENUMERATED + 1])
def test_the_same_returns_say_nothing(pairs):
    returns = PairedReturns.of([(7.3, 7.3)] * pairs)
    assert (returns.difference, returns.p_value) == (0.0, 1.0)
    assert returns.interval == (None if pairs < 6 else (0.0, 0.0))
    assert return_verdict(returns) == f"no difference: all {pairs} paired episodes have the same return"


def test_many_pairs_are_judged_by_random_flips_and_the_observed_signs_count():
    same = returns_of(*[1.0] * 60)
    assert not same.is_exact
    assert same.p_value == same.smallest_p_value == 2 / (RANDOM_FLIPS + 1)
    drawn = np.random.default_rng(5).normal(0.3, 1.0, 22)
    sums = np.zeros(1)
    for each in drawn:
        sums = np.append(sums, sums + each)
    exact = 2 * min((sums <= 0).mean(), (sums >= 0).mean())
    assert returns_of(*drawn).p_value == pytest.approx(exact, rel=0.05)


def test_fewer_than_six_pairs_cannot_be_significant_and_have_no_interval():
    assert returns_of(1, 2, 3, 4, 5).interval is None
    assert returns_of(1, 2, 3, 4, 5).smallest_p_value == 2 / 32
    assert returns_of(1, 2, 3, 4, 5, 6).smallest_p_value == returns_of(1, 2, 3, 4, 5, 6).p_value == 2 / 64
    assert PairedReturns.of([(1, 2)]).smallest_p_value == 1.0


@pytest.mark.parametrize("pairs", [6, 12, 30])
def test_the_interval_holds_the_shifts_that_the_test_does_not_reject(pairs):
    drawn = np.random.default_rng(pairs).normal(1.0, 2.0, pairs)
    low, high = returns_of(*drawn).interval
    assert low < drawn.mean() < high
    for end, beyond in ((low, -1e-6), (high, 1e-6)):
        assert not returns_of(*(drawn - end + beyond)).is_significant
        assert returns_of(*(drawn - end - beyond)).p_value <= 0.05
    assert returns_of(3, 1, 2, 6, 5, 4).interval == (1.0, 6.0)


def test_every_task_counts_alike():
    returns = PairedReturns.of([(0, 1), (0, 3)], [(10, 20)])
    assert (returns.pairs, returns.first, returns.second, returns.difference) == (3, 5.0, 11.0, 6.0)
    assert returns.p_value == 2 / 8
    assert PairedReturns.of([(0, 1), (0, 3)], [(0, -2)]).p_value == 1.0
    for tasks in ((), ([(0, 1)], [])):
        with pytest.raises(ValueError, match="no pairs of episodes"):
            PairedReturns.of(*tasks)


def test_words_about_returns_say_who_is_better_or_that_nobody_knows():
    better = return_verdict(returns_of(3, 1, 2, 6, 5, 4))
    assert better.startswith("B is better than A: +3.5 [+1.0, +6.0] of mean return, over 6 paired episodes (sign-flip")
    assert "exact: p = 0.031" in better
    assert return_verdict(returns_of(-3, -1, -2, -6, -5, -4)).startswith("A is better than B: -3.5 [-6.0, -1.0]")
    unclear = return_verdict(returns_of(1, -2, 4))
    assert unclear.startswith("no evidence of a difference yet: +1.0 of mean return, over 3 paired episodes")
    assert "differ this much in 75% of comparisons" in unclear
    assert "100,000 random flips: p = 2e-05" in return_verdict(returns_of(*[1.0] * 60))
