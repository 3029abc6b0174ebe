"""Scripted experts: they succeed, their noise is what it says, and an episode can be played again exactly."""

import numpy as np
import pytest

pytestmark = pytest.mark.sim

pytest.importorskip("metaworld")

from tempovla.env.expert import ActionNoise, replay, rollout_expert  # noqa: E402
from tempovla.env.metaworld import MetaWorldConfig, MetaWorldEnv  # noqa: E402
from tempovla.timeline.keys import STATE_KEY  # noqa: E402


@pytest.fixture(scope="module")
def env() -> MetaWorldEnv:
    return MetaWorldEnv(MetaWorldConfig(render=False, terminate_on_success=False, max_steps=200))


@pytest.mark.parametrize("task", ["button-press-topdown-v3", "drawer-open-v3", "window-open-v3", "push-v3"])
def test_expert_solves_the_task_with_a_binary_gripper_and_stops_soon_after(env: MetaWorldEnv, task: str) -> None:
    episode = rollout_expert(env, seed=1, task=task, binary_gripper=True, steps_after_success=3)
    assert episode.success
    assert set(np.unique(episode.labels[:, 3])) <= {-1.0, 1.0}
    env.reset_state(seed=1, task=task)
    successes = [env.advance(action)[3]["success"] for action in episode.executed]
    assert successes.index(True) == len(successes) - 4


def test_without_noise_the_labels_are_executed_and_stay_in_range(env: MetaWorldEnv) -> None:
    episode = rollout_expert(env, seed=2, task="push-v3")
    np.testing.assert_array_equal(episode.labels, episode.executed)
    assert np.abs(episode.labels).max() <= 1
    assert 0.6 in episode.labels[:, 3].round(6)  # the effort that `binary_gripper` would make 1
    assert episode.noise_sigma == 0


def test_noise_moves_the_hand_but_neither_the_labels_gripper_nor_the_labels(env: MetaWorldEnv) -> None:
    noise = ActionNoise(max_sigma=0.2, correlation=0.8)
    residuals, sigmas = [], []
    for seed in range(12):
        episode = rollout_expert(env, seed, task="reach-v3", noise=noise, steps_after_success=60)
        np.testing.assert_array_equal(episode.executed[:, 3], episode.labels[:, 3])
        free = np.abs(episode.labels[:, :3]).max(axis=1) < 0.2  # where nothing was clipped
        residual = (episode.executed - episode.labels)[:, :3]
        residuals.append(residual[free] / episode.noise_sigma)
        sigmas.append(episode.noise_sigma)
    scaled = np.concatenate(residuals)
    assert 0 < min(sigmas) < max(sigmas) < 0.2
    assert scaled.std() == pytest.approx(1, abs=0.1)
    assert np.corrcoef(scaled[1:].ravel(), scaled[:-1].ravel())[0, 1] == pytest.approx(0.8, abs=0.06)


def test_replay_shows_bit_for_bit_the_states_that_were_played(env: MetaWorldEnv) -> None:
    drawing = MetaWorldEnv(MetaWorldConfig(terminate_on_success=False, image_size=16, supersample=1))
    episode = rollout_expert(env, seed=3, task="door-open-v3", noise=ActionNoise())
    env.reset_state(seed=8, task="push-v3")
    observations = replay(drawing, episode)
    np.testing.assert_array_equal([observation[STATE_KEY] for observation in observations], episode.states)
    assert observations[0]["observation.images.corner2"].shape == (16, 16, 3)
    assert len(episode.labels) == len(episode.executed) == len(episode.states)


def test_failure_is_reported_at_the_step_limit() -> None:
    short = MetaWorldEnv(MetaWorldConfig(task="push-v3", render=False, terminate_on_success=False, max_steps=10))
    episode = rollout_expert(short, seed=0)
    assert not episode.success
    assert len(episode.labels) == 10


def test_an_environment_that_ends_at_success_is_refused() -> None:
    with pytest.raises(ValueError, match="terminate_on_success=False"):
        rollout_expert(MetaWorldEnv(MetaWorldConfig(render=False)), seed=0)
