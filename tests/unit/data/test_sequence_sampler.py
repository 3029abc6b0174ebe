"""Draws of sequences: each valid start as likely, the same whenever it is repeated, and read like any other window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.replays import create, frames
from tests.small_sources import memory_source

from tempovla.data.errors import DatasetError, UnknownStreamError
from tempovla.data.loader import collate
from tempovla.data.mixture import Mixture
from tempovla.data.replay import ReplaySource
from tempovla.data.sampler import SampleBatch
from tempovla.data.sequence_sampler import SequenceSampler
from tempovla.timeline import TimelineSample, Window
from tempovla.timeline.keys import ACTION_KEY, DONE_KEY, REWARD_KEY, STATE_KEY

WINDOWS = (Window(STATE_KEY, (0, 1, 2)), Window(ACTION_KEY, (-1, 0, 1)), Window(REWARD_KEY, (0, 1)))


def sampler(source: ReplaySource, batch_size: int = 8, length: int = 3, **given: int) -> SequenceSampler:
    return SequenceSampler(source, WINDOWS, batch_size=batch_size, length=length, seed=given.get("seed", 0))


def same(one: TimelineSample, other: TimelineSample) -> bool:
    tracks = [(s.context.past, s.context.now, s.future) for s in (one, other)]
    assert [[sorted(group) for group in groups] for groups in tracks] == [
        [[ACTION_KEY], [STATE_KEY], sorted([STATE_KEY, ACTION_KEY, REWARD_KEY])]
    ] * 2
    pairs = [(a[key], b[key]) for a, b in zip(*tracks, strict=True) for key in a]
    return bool((one.seed == other.seed).all()) and all(torch.equal(a.value, b.value) for a, b in pairs)


def test_every_valid_start_is_drawn_about_as_often_and_no_other_is(tmp_path: Path) -> None:
    with create(tmp_path / "replay", (5, 2, 3, 4)) as replay:
        episodes, steps = sampler(replay, batch_size=7000).places(0)
    found, counts = np.unique(np.stack([episodes, steps]), axis=1, return_counts=True)
    assert found.T.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [2, 0], [3, 0], [3, 1]]
    assert (abs(counts - 1000) < 5 * np.sqrt(1000)).all()


def test_rows_begin_at_multiples_of_the_stride_alone_and_reach_an_action_that_the_end_cuts(tmp_path: Path) -> None:
    with create(tmp_path / "replay", (7, 2, 3, 4, 1)) as replay:
        drawn = SequenceSampler(replay, WINDOWS, batch_size=7000, length=3, seed=0, stride=2)
        episodes, steps = drawn.places(0)
    found, counts = np.unique(np.stack([episodes, steps]), axis=1, return_counts=True)
    assert found.T.tolist() == [[0, 0], [0, 2], [0, 4], [1, 0], [2, 0], [3, 0], [4, 0]]
    assert (abs(counts - 1000) < 5 * np.sqrt(1000)).all()


@pytest.mark.parametrize(("length", "stride"), [(1, 1), (3, 1), (8, 1), (6, 2), (7, 2), (12, 3)])
def test_draws_from_episodes_that_are_long_enough_are_those_of_earlier_versions(
    tmp_path: Path, length: int, stride: int
) -> None:
    lengths = np.array([12, 15, 24, 12, 18] if stride == 3 else [8, 12, 10, 30, 8])
    assert (lengths >= length).all()
    with create(tmp_path / "replay", tuple(lengths.tolist())) as replay:
        drawn = SequenceSampler(replay, WINDOWS, batch_size=64, length=length, seed=4, stride=stride)
        for number in range(3):
            ends = np.cumsum((lengths - length + stride) // stride)
            index = np.random.default_rng((4, number, 5)).integers(ends[-1], size=64)
            which = np.searchsorted(ends, index, side="right")
            episodes, steps = drawn.places(number)
            np.testing.assert_array_equal(episodes, which)
            np.testing.assert_array_equal(steps, (index - np.array([0, *ends])[which]) * stride)


def test_rows_hold_what_their_episode_holds_there_and_what_follows_an_action_is_the_future(tmp_path: Path) -> None:
    with create(tmp_path / "replay", (5, 9, 4)) as replay:
        drawn = sampler(replay)
        episodes, steps = drawn.places(3)
        sample = drawn.draw(3)
    assert (list(sample.context.past), list(sample.context.now)) == ([ACTION_KEY], [STATE_KEY])
    assert {key: track.offset.tolist() for key, track in sample.future.items()} == {
        STATE_KEY: [1, 2],
        ACTION_KEY: [0, 1],
        REWARD_KEY: [0, 1],
    }
    np.testing.assert_array_equal(sample.context.now[STATE_KEY].value[:, 0, 0], 100 * episodes + steps)
    np.testing.assert_array_equal(sample.future[STATE_KEY].value[:, 1, 1], -(steps + 2))
    np.testing.assert_array_equal(sample.future[REWARD_KEY].value[..., 0], np.stack([steps, steps + 1], axis=1) / 2)
    np.testing.assert_array_equal(sample.context.past[ACTION_KEY].valid[:, 0], steps > 0)
    assert all(bool(track.valid.all()) for track in sample.future.values())
    assert [task.instruction for task in sample.context.task] == [f"do {episode}" for episode in episodes]
    np.testing.assert_array_equal(sample.context.first, steps == 0)


def test_a_draw_is_the_batch_that_the_loaders_code_makes_of_these_steps(tmp_path: Path) -> None:
    with create(tmp_path / "replay", (5, 9, 4)) as replay:
        drawn = sampler(replay, length=1)
        episodes, steps = drawn.places(0)
        index = np.array([0, 5, 14])[episodes] + steps
        other = collate(Mixture([replay]), WINDOWS, SampleBatch(np.zeros_like(index), index, drawn.draw(0).seed))
        assert same(drawn.draw(0), other)
        assert not drawn.draw(0).future[STATE_KEY].valid.all()  # shorter sequences reach beyond the ends, as told


def test_a_resumed_run_repeats_its_draws_with_the_episodes_that_it_had(tmp_path: Path) -> None:
    with create(tmp_path / "replay", (5, 9, 4), capacity=12) as replay:
        expected = [sampler(replay).draw(number) for number in range(4)]
        for episode in (3, 4):
            replay.append(frames(episode, 6), f"do {episode}")
        assert not same(sampler(replay).draw(0), expected[0])
        assert all(same(sampler(replay).draw(number, episodes=3), expected[number]) for number in range(4))
    with ReplaySource.open(tmp_path / "replay", capacity=12) as replay:
        replay.truncate(3)
        assert all(same(sampler(replay).draw(number), expected[number]) for number in (3, 0, 2, 1))


def test_other_numbers_and_seeds_draw_others(tmp_path: Path) -> None:
    with create(tmp_path / "replay", (500,)) as replay:
        first = sampler(replay).places(0)[1]
        assert (first != sampler(replay).places(1)[1]).any()
        assert (first != sampler(replay, seed=1).places(0)[1]).any()
        seeds = torch.cat(
            [sampler(replay).draw(0).seed, sampler(replay).draw(1).seed, sampler(replay, seed=1).draw(0).seed]
        )
        assert len(seeds.unique()) == 24


def test_only_episodes_within_the_capacity_are_drawn(tmp_path: Path) -> None:
    with create(tmp_path / "replay", (8, 8, 8, 8), capacity=17) as replay:
        assert set(sampler(replay, batch_size=200).places(0)[0].tolist()) == {2, 3}


def test_a_source_that_does_not_grow_is_drawn_from_as_a_whole() -> None:
    source = memory_source()
    drawn = SequenceSampler(source, (Window("action", (0, 1)),), batch_size=40, length=2, seed=0)
    assert set(drawn.places(0)[1].tolist()) == {0, 1, 2}
    assert drawn.draw(0).future["action"].value.shape == (40, 2, 1)


def test_a_short_episode_of_a_source_that_does_not_grow_is_drawn_from_its_start() -> None:
    drawn = SequenceSampler(memory_source(), (Window("action", tuple(range(9))),), batch_size=3, length=9, seed=0)
    assert drawn.places(0)[1].tolist() == [0, 0, 0]
    assert drawn.draw(0).future["action"].valid.tolist() == [[True] * 4 + [False] * 5] * 3


def test_nothing_to_draw_is_told(tmp_path: Path) -> None:
    with create(tmp_path / "replay") as replay:
        with pytest.raises(DatasetError, match="none of its 0 episodes has a step to draw; append an episode first"):
            sampler(replay).draw(0)
        replay.append(frames(0, 2), "")
        assert sampler(replay).draw(0).future[STATE_KEY].valid.tolist() == [[True, False]] * 8
        with pytest.raises(DatasetError, match="has 1 episode, not 2; give no more"):
            sampler(replay).draw(0, episodes=2)


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    with create(tmp_path / "replay", (4,)) as replay:
        with pytest.raises(UnknownStreamError, match=r"no stream 'next.rewards'; did you mean next.reward"):
            SequenceSampler(replay, (Window("next.rewards", (0,)),), batch_size=1, length=1, seed=0)
        with pytest.raises(ValueError, match="two windows on one stream; join its offsets into one window"):
            SequenceSampler(replay, (Window(DONE_KEY, (0,)), Window(DONE_KEY, (1,))), batch_size=1, length=1, seed=0)
        with pytest.raises(ValueError, match="batch_size=1, length=0 and stride=1 must be at least 1"):
            SequenceSampler(replay, WINDOWS, batch_size=1, length=0, seed=0)
