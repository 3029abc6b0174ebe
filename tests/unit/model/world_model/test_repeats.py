"""Actions that are each done for several control steps."""

from __future__ import annotations

import torch

from tempovla.model.world_model.repeats import beyond_end, repeated_actions, repeated_ends, repeated_rewards
from tempovla.timeline import Context, Embodiment, Task, TimelineSample, Track
from tempovla.timeline.keys import ACTION_KEY, REWARD_KEY, STATE_KEY

NAN = torch.nan
T, F = True, False


def test_an_action_is_known_where_it_was_done_all_the_time():
    value = torch.tensor([[1.0, 1.0, 2.0, 3.0, 4.0, 4.0, 5.0, 5.0]])[..., None]
    valid = torch.tensor([[True, True, True, True, True, True, True, False]])
    actions, known = repeated_actions(Track(value, valid, torch.arange(8)), 2)
    assert known.tolist() == [[True, False, True, False]]
    assert actions[0, :, 0].tolist() == [1.0, 0.0, 4.0, 0.0]
    singles, each = repeated_actions(Track(value, valid, torch.arange(8)), 1)
    assert torch.equal(each, valid)
    assert singles[0, :, 0].tolist() == [1.0, 1.0, 2.0, 3.0, 4.0, 4.0, 5.0, 0.0]


def test_what_is_not_valid_does_not_count():
    value = torch.tensor([[[1.0], [torch.nan]]])
    actions, known = repeated_actions(Track(value, torch.tensor([[True, False]]), torch.arange(2)), 2)
    assert (actions.tolist(), known.tolist()) == ([[[0.0]]], [[False]])


def of(values: list[float], valid: list[bool]) -> Track:
    return Track.of(torch.tensor(values)[None, :, None], range(len(values)), torch.tensor([valid]))


def test_an_action_that_the_end_cuts_short_is_known_by_the_steps_that_were_done():
    valid, beyond = [T, T, T, T, T, F, F, F, F], torch.tensor([[F] * 5 + [T] * 4])
    actions, known = repeated_actions(of([1.0] * 3 + [2.0] * 2 + [NAN] * 4, valid), 3, beyond)
    assert (actions[0, :, 0].tolist(), known.tolist()) == ([1.0, 2.0, 0.0], [[T, T, F]])
    rewards, known = repeated_rewards(of([1.0, 2.0, 3.0, 4.0, 5.0] + [NAN] * 4, valid), 3, beyond)
    assert (rewards.tolist(), known.tolist()) == ([[6.0, 9.0, 0.0]], [[T, T, F]])
    ended, known = repeated_ends(of([0.0, 0.0, 0.0, 0.0, 1.0] + [1.0] * 4, valid), 3, beyond)
    assert (ended.tolist(), known.tolist()) == ([[F, T, F]], [[T, T, F]])


def test_a_cut_action_is_unknown_where_its_steps_differ_or_one_of_them_is_missing():
    beyond = torch.tensor([[F, F, T]])
    assert repeated_actions(of([1.0, 2.0, 2.0], [T, T, F]), 3, beyond)[1].tolist() == [[F]]
    for missing in ([F, T, F], [T, F, F], [F, F, F]):
        assert repeated_actions(of([1.0] * 3, missing), 3, beyond)[1].tolist() == [[F]]
        rewards, known = repeated_rewards(of([1.0] * 3, missing), 3, beyond)
        assert (rewards.tolist(), known.tolist()) == ([[0.0]], [[F]])


def test_where_each_action_is_done_once_it_is_known_as_it_is_valid():
    valid = torch.rand(6, 5, generator=torch.Generator().manual_seed(0)) < 0.6
    track = Track.of(torch.ones(6, 5, 1), range(5), valid)
    beyond = ~valid.flip(1).cummax(dim=1).values.flip(1)
    assert beyond.any()
    for known in (repeated_actions(track, 1, beyond)[1], repeated_rewards(track, 1, beyond)[1]):
        assert torch.equal(known, valid)
    ended, known = repeated_ends(track, 1, beyond)
    assert torch.equal(ended, valid)
    assert torch.equal(known, valid)


def test_an_episode_ends_where_nothing_is_valid_any_more():
    actions = torch.tensor([[T, T, F, F], [T, T, F, F], [T, T, F, F], [T, T, T, T], [F, F, F, F]])
    rewards = torch.tensor([[T, T, F, F], [T, T, T, F], [T, T, F, F], [T, T, T, T], [F, F, F, F]])
    state = torch.tensor([[T, F], [T, F], [F, T], [T, F], [F, F]])  # at steps 2 and 4
    now = {STATE_KEY: Track.of(torch.zeros(5, 1, 1), (0,), torch.tensor([[T]] * 4 + [[F]]))}
    future = {
        ACTION_KEY: Track.of(torch.zeros(5, 4, 1), range(4), actions),
        REWARD_KEY: Track.of(torch.zeros(5, 4, 1), range(4), rewards),
        STATE_KEY: Track.of(torch.zeros(5, 2, 1), (2, 4), state),
    }
    context = Context({}, now, (Task("", Embodiment("toy", 1, 1, 10.0)),) * 5, torch.ones(5, dtype=torch.bool))
    found = beyond_end(TimelineSample(context, future, torch.arange(5)), 4)
    assert found.tolist() == [[F, F, F, T], [F, F, F, T], [F, F, F, F], [F, F, F, F], [T, T, T, T]]
