"""A second simulation repeats the first one bit for bit, and leaves it alone."""

import numpy as np
import pytest

from tempovla.env.dm_control import DmControlConfig
from tempovla.env.metaworld import MetaWorldConfig
from tempovla.env.protocol import SimulatorConfig
from tempovla.env.twin import SimulatorTwin

pytest.importorskip("dm_control")
pytest.importorskip("metaworld")

CONFIGS = {
    "swingup": DmControlConfig(task="cartpole-swingup", render=False),
    "touch": DmControlConfig(task="finger-spin", render=False, action_repeat=1),
    "contacts": DmControlConfig(task="walker-run", render=False),
    "drawer": MetaWorldConfig(task="drawer-open-v3", render=False, max_steps=500),
    "puck": MetaWorldConfig(task="push-v3", render=False, max_steps=500),
}


def actions_of(config: SimulatorConfig, steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (steps, config.embodiment.action_dim))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_rewards_of_a_trial_are_those_that_then_come(name):
    config = CONFIGS[name]
    env = config.make()
    env.reset_state(seed=3)
    twin = SimulatorTwin(env)
    twin.begin(3)
    done = actions_of(config, 24)
    for first in range(0, 24, 8):
        twin.look()
        for other in range(3):
            twin.attempt(actions_of(config, 12, seed=other + 1))
        trial = twin.attempt(done[first : first + 8])
        rewards = [env.advance(action)[0] for action in done[first : first + 8]]
        np.testing.assert_array_equal(trial.rewards, rewards)
        np.testing.assert_array_equal(trial.state, env.state)


@pytest.mark.parametrize("name", ["swingup", "puck"])
def test_an_episode_with_trials_is_the_one_without(name):
    config = CONFIGS[name]
    tried, left_alone = config.make(), config.make()
    tried.reset_state(seed=3)
    left_alone.reset_state(seed=3)
    twin = SimulatorTwin(tried)
    twin.begin(3)
    for action in actions_of(config, 10):
        twin.look()
        twin.attempt(actions_of(config, 5, seed=1))
        assert tried.advance(action) == left_alone.advance(action)
        np.testing.assert_array_equal(tried.state, left_alone.state)


def test_a_trial_ends_with_the_episode():
    config = DmControlConfig(task="cartpole-balance", render=False, max_steps=4)
    env = config.make()
    env.reset_state(seed=0)
    twin = SimulatorTwin(env)
    twin.begin(0)
    env.advance(np.zeros(1))
    twin.look()
    trial = twin.attempt(np.zeros((6, 1)))
    assert trial.is_over
    assert (trial.rewards[:3] > 0).all()
    assert trial.rewards[3:].tolist() == [0.0, 0.0, 0.0]
    assert not twin.attempt(np.zeros((2, 1))).is_over


def test_an_environment_without_mujoco_is_refused():
    with pytest.raises(ValueError, match="cannot be brought back to a moment; plan with the true simulator in dmc"):
        SimulatorTwin(object())
