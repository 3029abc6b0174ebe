"""A chunk is executed to its end unless the world departs from the prediction, in that row alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.sagr_policies import contexts_of, noisy, sagr
from tests.tiny import FRONT

from tempovla.model.vla.sagr_state import change_ratio
from tempovla.timeline.keys import ACTION_KEY

K = 2


def following(context, chunk, first=False):
    """The context after `K` actions of a chunk were done, with the same pictures."""
    track = context.past[ACTION_KEY]
    done = replace(track, value=chunk.value[:, :K], valid=torch.ones_like(track.valid))
    return replace(context, past={**context.past, ACTION_KEY: done}, first=torch.full_like(context.first, first))


def calm(policy):
    """The policy with a predictor that expects no change, and a threshold between nothing and something."""
    torch.nn.init.zeros_(policy.world.change[-1].weight)
    torch.nn.init.zeros_(policy.world.change[-1].bias)
    policy.residuals.norm.fill_(0.1)
    return policy


def test_the_ratio_is_zero_for_a_perfect_prediction_and_grows_with_a_displacement():
    before, after = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    torch.testing.assert_close(change_ratio(after, after, before, 1e-4), torch.zeros(3))
    moved = after.clone()
    moved[1] += 10 * (after[1] - before[1])
    ratio = change_ratio(moved, after, before, 1e-4)
    torch.testing.assert_close(ratio, torch.tensor([0.0, 10.0, 0.0]))


def test_numerator_and_denominator_are_one_norm():
    """Independent changes of many tokens do not make the ratio grow with their number."""
    change, residual = torch.randn(1, 64, 8), torch.randn(1, 64, 8)
    before = torch.zeros(1, 64, 8)
    assert float(change_ratio(change + residual, change, before, 1e-4)) == pytest.approx(1.0, abs=0.2)


def test_the_expected_change_is_at_least_the_floor():
    still = torch.zeros(1, 2, 2)
    assert float(change_ratio(still + 0.5, still, still, 2.0)) == pytest.approx(0.5)


def test_a_chunk_goes_on_while_the_world_is_as_predicted():
    policy = calm(sagr(replan=True))
    context = contexts_of(policy)[0]
    first, state = policy.act(context, policy.initial_state(3))
    second, state = policy.act(following(context, first), state)
    torch.testing.assert_close(second.value[:, :K], first.value[:, K : 2 * K])
    assert state.memory.used.tolist() == [K] * 3
    assert state.memory.ratio.max() < 1e-3
    third, state = policy.act(following(context, second), state)
    assert state.memory.used.tolist() == [0] * 3
    assert (third.value[:, :K] - second.value[:, K:]).abs().max() > 1e-4
    assert state.memory.replans.tolist() == [0] * 3


def test_a_displacement_breaks_off_the_chunk_of_that_row_alone():
    policy = calm(sagr(replan=True))
    context = contexts_of(policy)[0]
    first, state = policy.act(context, policy.initial_state(3))
    later = following(context, first)
    picture = later.now[FRONT]
    moved = torch.where(
        torch.tensor([False, True, False])[:, None, None, None, None], noisy(picture).value, picture.value
    )
    second, state = policy.act(replace(later, now={**later.now, FRONT: picture.with_value(moved)}), state)
    assert state.memory.replans.tolist() == [0, 1, 0]
    assert state.memory.ratio[1] > policy.config.rrr_replan_threshold > state.memory.ratio[[0, 2]].max()
    torch.testing.assert_close(second.value[[0, 2], :K], first.value[[0, 2], K:])
    assert (second.value[1, :K] - first.value[1, K:]).abs().max() > 1e-4
    assert state.memory.most[1] == state.memory.ratio[1]


def test_a_prediction_is_compared_only_after_as_many_steps_as_it_looked_ahead():
    policy = calm(sagr(replan=True))
    context = contexts_of(policy)[0]
    first, state = policy.act(context, policy.initial_state(3))
    later = following(context, first)
    track = later.past[ACTION_KEY]
    valid = track.valid.clone()
    valid[0, 0] = False
    later = replace(
        later, past={ACTION_KEY: replace(track, valid=valid)}, now={**later.now, FRONT: noisy(later.now[FRONT])}
    )
    _, state = policy.act(later, state)
    assert state.memory.replans.tolist() == [0, 1, 1]
    assert state.memory.ratio[0] == 0


def test_what_is_expected_follows_from_the_actions_that_were_executed():
    policy = sagr()
    context = contexts_of(policy)[0]
    first, state = policy.act(context, policy.initial_state(3))
    later = following(context, first)
    later = replace(later, now={**later.now, FRONT: noisy(later.now[FRONT])})
    track = later.past[ACTION_KEY]
    pushed = track.with_value(track.value + torch.tensor([0.0, 1.0, 0.0])[:, None, None])
    other = replace(later, past={ACTION_KEY: pushed})
    expected, found = policy.act(later, state)[1].memory.ratio, policy.act(other, state)[1].memory.ratio
    assert ((found - expected).abs() > 1e-5).tolist() == [False, True, False]


def test_two_sessions_that_take_turns_do_not_share_memory():
    policy = sagr(replan=True, enable_causal_feedback_token=True)
    left, right = contexts_of(policy, steps=4), contexts_of(policy, steps=4)[::-1]
    right = [replace(each, first=torch.full_like(each.first, step == 0)) for step, each in enumerate(right)]
    alone = []
    for session in (left, right):
        state = policy.initial_state(3)
        for context in session:
            chunk, state = policy.act(context, state)
            alone.append(chunk.value)
    states, together = [policy.initial_state(3), policy.initial_state(3)], [[], []]
    for pair in zip(left, right, strict=True):
        for side, context in enumerate(pair):
            chunk, states[side] = policy.act(context, states[side])
            together[side].append(chunk.value)
    torch.testing.assert_close([*together[0], *together[1]], alone, rtol=0, atol=0)
