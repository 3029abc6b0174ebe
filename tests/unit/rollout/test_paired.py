"""What paired outcomes say about a difference."""

from __future__ import annotations

import pytest

from tempovla.rollout.paired import PairedOutcomes, verdict


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
    assert unclear.startswith("the difference means nothing yet: +10.0 points")
    assert "differ this much in 69% of comparisons" in unclear
    assert verdict(PairedOutcomes(10, 0, 0, 10)).startswith("no difference: over 20 paired episodes")
