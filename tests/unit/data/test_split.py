"""Splits are by episode, seeded and complete."""

import pytest

from tempovla.data.split import split_episodes


def test_every_episode_is_on_one_side() -> None:
    training, validation = split_episodes(50, 0.1, seed=0)
    assert len(validation) == 5
    assert sorted(training + validation) == list(range(50))


def test_the_seed_decides() -> None:
    assert split_episodes(50, 0.1, seed=0) == split_episodes(50, 0.1, seed=0)
    assert split_episodes(50, 0.1, seed=0) != split_episodes(50, 0.1, seed=1)


def test_both_sides_have_an_episode_where_there_are_two() -> None:
    assert [len(part) for part in split_episodes(2, 0.01, seed=0)] == [1, 1]
    assert [len(part) for part in split_episodes(2, 0.99, seed=0)] == [1, 1]
    assert [len(part) for part in split_episodes(1, 0.5, seed=0)] == [1, 0]
    assert [len(part) for part in split_episodes(4, 0.0, seed=0)] == [4, 0]


def test_fraction_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1.0 must be in \[0, 1\)"):
        split_episodes(4, 1.0, seed=0)
