"""The object of a task is moved once in an episode, in a direction that the episode's seed alone decides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tempovla.env.disturbance import Disturbance
from tempovla.env.metaworld import MetaWorldConfig
from tempovla.recipe.evaluation.disturbed import with_disturbance
from tempovla.rollout.evaluate import EvaluationConfig

SHIFT = 0.04


def places(task: str, disturbance: Disturbance | None, steps: int = 5, seed: int = 3) -> list[np.ndarray]:
    """Where the object is before and after each step of an arm that rests, as Meta-World tells it, x and y [m]."""
    env = MetaWorldConfig(task=task, render=False, disturbance=disturbance).make()
    env.reset(seed=seed)
    found = [env.privileged_observation[4:6]]
    for _ in range(steps):
        env.advance(np.zeros(4))
        found.append(env.privileged_observation[4:6])
    env.close()
    return found


@pytest.mark.parametrize("task", ["push-v3", "drawer-open-v3", "door-open-v3"])
def test_the_object_is_moved_at_its_step_alone(task):
    calm, moved = places(task, None), places(task, Disturbance(2, SHIFT))
    for step in range(3):
        np.testing.assert_array_equal(moved[step], calm[step])
    np.testing.assert_allclose(np.linalg.norm(moved[3] - calm[3]), SHIFT, atol=0.01)


def test_the_direction_follows_from_the_seed():
    first, again, other = Disturbance(2).shift(1), Disturbance(9).shift(1), Disturbance(2).shift(2)
    np.testing.assert_array_equal(first, again)
    assert abs(first - other).max() > 1e-3
    assert np.linalg.norm(first) == pytest.approx(0.05)


def test_the_goal_of_a_fixture_moves_with_it():
    env = MetaWorldConfig(task="drawer-open-v3", render=False, disturbance=Disturbance(0, SHIFT)).make()
    env.reset(seed=3)
    before = env.simulation._target_pos.copy()
    env.advance(np.zeros(4))
    np.testing.assert_allclose(env.simulation._target_pos[:2] - before[:2], Disturbance(0, SHIFT).shift(3))
    env.close()


def test_the_next_episode_begins_as_ever():
    env = MetaWorldConfig(task="drawer-open-v3", render=False, disturbance=Disturbance(0, SHIFT)).make()
    env.reset(seed=5)
    expected = env.privileged_observation
    env.advance(np.zeros(4))
    env.reset(seed=5)
    np.testing.assert_array_equal(env.privileged_observation, expected)
    env.close()


def test_a_step_between_two_steps_is_refused():
    with pytest.raises(ValueError, match=r"disturb_step=2\.5"):
        EvaluationConfig(disturb_step=2.5)
    assert EvaluationConfig(disturb_step=np.int64(3)).disturb_step == 3


def test_a_shift_without_a_step_is_refused_and_has_a_default_with_one():
    with pytest.raises(
        ValueError, match=r"disturb_shift_m=0\.1 moves nothing without disturb_step; .*=20, or leave both"
    ):
        EvaluationConfig(disturb_shift_m=0.1)
    assert with_disturbance(MetaWorldConfig(), EvaluationConfig(disturb_step=3)).disturbance == Disturbance(3, 0.05)
    shifted = EvaluationConfig(disturb_step=3, disturb_shift_m=0.1)
    assert with_disturbance(MetaWorldConfig(), shifted).disturbance == Disturbance(3, 0.1)


@pytest.mark.parametrize("step", [8, 20])
def test_a_step_that_no_episode_reaches_is_refused(step):
    with pytest.raises(
        ValueError, match=rf"disturb_step={step} is never reached, .* max_steps=8 steps; give a smaller"
    ):
        with_disturbance(MetaWorldConfig(max_steps=8), EvaluationConfig(disturb_step=step))
    with_disturbance(MetaWorldConfig(max_steps=8), EvaluationConfig(disturb_step=7))


@pytest.mark.parametrize(("fields", "message"), [({"step": -1}, "disturb_step=-1"), ({"shift_m": 0.0}, "shift_m=0.0")])
def test_a_disturbance_that_is_none_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(Disturbance(3), **fields)
