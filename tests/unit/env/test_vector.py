"""The vector environment: rows are independent, chunks are steps, and crashes are errors."""

import os
import signal

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

pytestmark = pytest.mark.sim

pytest.importorskip("metaworld")

from tempovla.env.expert import rollout_expert  # noqa: E402
from tempovla.env.metaworld import MetaWorldConfig, MetaWorldEnv  # noqa: E402
from tempovla.env.vector import ShardedVectorEnv  # noqa: E402
from tempovla.env.worker import WorkerDiedError  # noqa: E402
from tempovla.timeline.keys import STATE_KEY  # noqa: E402

BLIND = MetaWorldConfig(render=False, max_steps=30)
TASKS = ["reach-v3", "door-open-v3", "push-v3"]
RANDOM = np.random.default_rng(0)
ACTIONS = RANDOM.uniform(-1, 1, (3, 12, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def vector():
    env = ShardedVectorEnv(BLIND, num_envs=3, num_workers=2)
    yield env
    env.close()


def alone(config: MetaWorldConfig, seed: int, task: str, actions: np.ndarray) -> list[dict[str, np.ndarray]]:
    """What one environment shows after its reset and after each action."""
    env = MetaWorldEnv(config)
    first, _ = env.reset(seed=seed, options={"task": task})
    return [first, *(env.step(action)[0] for action in actions)]


def test_rows_do_what_single_environments_do(vector: ShardedVectorEnv) -> None:
    observations, info = vector.reset(seed=40, options={"task": TASKS})
    assert info["task"].tolist() == TASKS
    assert info["instruction"][1] == "open the door"
    single = [alone(BLIND, 40 + row, task, ACTIONS[row]) for row, task in enumerate(TASKS)]
    np.testing.assert_array_equal(observations[STATE_KEY], [row[0][STATE_KEY] for row in single])
    for step in range(12):
        observations, rewards, terminations, truncations, info = vector.step(ACTIONS[:, step])
        np.testing.assert_array_equal(observations[STATE_KEY], [row[step + 1][STATE_KEY] for row in single])
    assert rewards.shape == (3,)
    assert not (terminations | truncations | info["success"]).any()


def test_a_chunk_is_its_steps_and_rows_may_do_fewer(vector: ShardedVectorEnv) -> None:
    vector.reset(seed=40, options={"task": TASKS})
    valid = np.arange(12) < np.array([12, 5, 0])[:, None]
    result = vector.step_chunk(ACTIONS, valid, record=[1])
    assert result.steps.tolist() == [12, 5, 0]
    single = [alone(BLIND, 40 + row, task, ACTIONS[row][valid[row]]) for row, task in enumerate(TASKS)]
    np.testing.assert_array_equal(result.observations[STATE_KEY], [row[-1][STATE_KEY] for row in single])
    np.testing.assert_array_equal(result.frames[1][STATE_KEY], [step[STATE_KEY] for step in single[1][1:]])
    assert list(result.frames) == [1]


def test_resetting_one_row_leaves_the_others_alone(vector: ShardedVectorEnv) -> None:
    vector.reset(seed=40, options={"task": TASKS})
    vector.step_chunk(ACTIONS[:, :6])
    mask = np.array([False, True, False])
    before = vector.step_chunk(ACTIONS, np.zeros((3, 12), bool)).observations[STATE_KEY]
    observations, info = vector.reset(seed=[None, 77, None], options={"reset_mask": mask, "task": "window-open-v3"})
    np.testing.assert_array_equal(observations[STATE_KEY][~mask], before[~mask])
    assert info["task"].tolist() == ["reach-v3", "window-open-v3", "push-v3"]
    result = vector.step_chunk(ACTIONS[:, 6:])
    single = [
        alone(BLIND, 40, "reach-v3", ACTIONS[0]),
        alone(BLIND, 77, "window-open-v3", ACTIONS[1, 6:]),
        alone(BLIND, 42, "push-v3", ACTIONS[2]),
    ]
    np.testing.assert_array_equal(result.observations[STATE_KEY], [row[-1][STATE_KEY] for row in single])


def test_ended_rows_rest_until_they_are_reset(vector: ShardedVectorEnv) -> None:
    teacher = MetaWorldEnv(MetaWorldConfig(task="reach-v3", render=False, terminate_on_success=False))
    played = rollout_expert(teacher, seed=5, steps_after_success=0).executed
    assert len(played) < 60
    config = MetaWorldConfig(render=False, max_steps=60)
    env = ShardedVectorEnv(config, num_envs=2, num_workers=1)
    env.reset(seed=[5, 5], options={"task": ["reach-v3", "push-v3"]})
    actions = np.zeros((2, 80, 4), np.float32)
    actions[0, : len(played)] = played
    ended = env.step_chunk(actions)
    assert ended.steps.tolist() == [len(played), 60]
    assert ended.terminations.tolist() == ended.successes.tolist() == [True, False]
    assert ended.truncations.tolist() == [False, True]
    resting = env.step_chunk(actions)
    assert resting.steps.tolist() == [0, 0]
    assert resting.rewards.tolist() == [0, 0]
    np.testing.assert_array_equal(resting.terminations, ended.terminations)
    np.testing.assert_array_equal(resting.truncations, ended.truncations)
    np.testing.assert_array_equal(resting.observations[STATE_KEY], ended.observations[STATE_KEY])
    env.reset(seed=5)
    assert env.step_chunk(actions[:, :2]).steps.tolist() == [2, 2]
    env.close()


def test_images_arrive_through_shared_memory_whatever_the_number_of_rows_of_a_worker() -> None:
    config = MetaWorldConfig(task="push-v3", image_size=17, supersample=1)
    single = [alone(config, seed, "push-v3", ACTIONS[seed, :6]) for seed in range(3)]
    env = ShardedVectorEnv(config, num_envs=3, num_workers=2)  # one of them has two rows, the other one
    env.reset(seed=0)
    result = env.step_chunk(ACTIONS[:, :6], record=[0, 2])
    env.close()
    for key in env.single_observation_space:
        np.testing.assert_array_equal(result.observations[key], [row[-1][key] for row in single])
        for row in (0, 2):
            np.testing.assert_array_equal(result.frames[row][key], [step[key] for step in single[row][1:]])


def test_spaces_and_autoreset_mode_are_declared(vector: ShardedVectorEnv) -> None:
    assert vector.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    observations, _ = vector.reset(seed=1)
    assert vector.observation_space.contains(observations)
    assert vector.action_space.shape == (3, 4)


def test_users_errors_are_value_errors_and_harm_nothing(vector: ShardedVectorEnv) -> None:
    with pytest.raises(ValueError, match="no Meta-World task 'fly-v3'"):
        vector.reset(options={"task": ["push-v3", "fly-v3", "push-v3"]})
    with pytest.raises(ValueError, match=r"reset_mask must be \(3,\) bool, got \(2,\) bool"):
        vector.reset(options={"reset_mask": np.ones(2, bool)})
    with pytest.raises(ValueError, match="seed must have one entry for each of the 3 rows, got 2"):
        vector.reset(seed=[1, 2])
    with pytest.raises(ValueError, match=r"got \(2, 12, 4\) and \(2, 12\)"):
        vector.step_chunk(ACTIONS[:2])
    vector.reset(seed=1)
    with pytest.raises(ValueError, match="4 finite numbers"):
        vector.step(np.full((3, 4), np.nan))
    assert vector.step_chunk(ACTIONS[:, :2]).steps.tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="num_envs=0"):
        ShardedVectorEnv(BLIND, num_envs=0)


def test_a_crashed_worker_is_an_error_not_a_hang() -> None:
    env = ShardedVectorEnv(BLIND, num_envs=2, num_workers=2)
    with pytest.raises(ValueError, match=r"rows \[0, 1\] were never reset"):
        env.step(np.zeros((2, 4)))
    env.reset(seed=0)
    os.kill(env._workers[1].process_id, signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match="killed by SIGKILL"):
        env.step_chunk(ACTIONS[:2])
    assert env.closed


def test_fixed_initial_states_are_refused_where_there_are_none(vector: ShardedVectorEnv) -> None:
    with pytest.raises(ValueError, match="init_state=3: Meta-World has no fixed initial states; give None"):
        vector.reset(seed=1, options={"init_state": [3, None, None]})
