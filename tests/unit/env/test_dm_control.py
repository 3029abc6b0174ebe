"""DeepMind Control's tasks: the suite's own episodes, with repeated actions and cheap pictures."""

from __future__ import annotations

import os

import numpy as np
import pytest

pytestmark = pytest.mark.sim

pytest.importorskip("dm_control")

from tempovla.env.dm_control import DmControlConfig, DmControlEnv, _suite  # noqa: E402
from tempovla.env.dm_control_tasks import DM_CONTROL_TASKS, STEPS, suite_name  # noqa: E402
from tempovla.env.vector import ShardedVectorEnv  # noqa: E402

TASKS = ("cartpole-swingup", "reacher-easy", "cup-catch", "walker-walk")


def env_of(task: str, **settings) -> DmControlEnv:
    return DmControlConfig(task=task, **{"render": False, **settings}).make()


def numbers(observations) -> np.ndarray:
    return np.concatenate([np.ravel(value) for value in observations.values()]).astype(np.float32)


def actions_of(env: DmControlEnv, count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (count, env.config.embodiment.action_dim))


def test_the_tasks_are_those_of_the_benchmarking_suite():
    assert {suite_name(task) for task in DM_CONTROL_TASKS} == set(_suite().BENCHMARKING)
    assert suite_name("cup-catch") == ("ball_in_cup", "catch")
    assert suite_name("finger-turn-easy") == ("finger", "turn_easy")


@pytest.mark.parametrize("task", DM_CONTROL_TASKS)
def test_what_is_known_of_a_task_is_what_the_suite_has(task):
    simulation, body = env_of(task).simulation, DM_CONTROL_TASKS[task].body
    assert tuple((key, np.shape(value)) for key, value in simulation.reset().observation.items()) == body.observations
    model = simulation.physics.model
    assert tuple(model.id2name(number, "camera") for number in range(model.ncam)) == body.cameras
    assert simulation.action_spec().shape == (body.action_dim,)
    assert simulation.control_timestep() == body.step_s
    assert simulation._step_limit == STEPS


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_plays_the_suites_own_episode_whatever_was_played_before(task):
    env = env_of(task)
    actions = actions_of(env, 20)
    env.reset_state(seed=1)
    for action in actions:
        env.advance(action)
    env.reset_state(seed=5)
    theirs = _suite().load(*suite_name(task), task_kwargs={"random": 5})
    assert np.array_equal(env.state, numbers(theirs.reset().observation))
    for action in actions:
        reward, *_ = env.advance(action)
        steps = [theirs.step(action) for _ in range(2)]
        assert reward == sum(step.reward for step in steps)
        assert np.array_equal(env.state, numbers(steps[-1].observation))


def test_without_a_seed_episodes_go_on_from_the_last_one():
    env = env_of("cartpole-swingup")
    drawn = []
    for _ in range(2):
        env.reset_state(seed=3)
        env.reset_state()
        drawn.append(env.state)
        env.reset_state()
        assert not np.array_equal(env.state, drawn[0])
    assert np.array_equal(*drawn)


@pytest.mark.parametrize(("repeat", "steps"), [(2, 500), (3, 334), (8, 125)])
def test_an_episode_is_truncated_and_not_terminated_after_a_thousand_simulator_steps(repeat, steps):
    env = env_of("pendulum-swingup", action_repeat=repeat)
    env.reset_state(seed=0)
    for step in range(steps):
        _, terminated, truncated, info = env.advance([0.5])
        assert (terminated, truncated, info["success"]) == (False, step == steps - 1, False)
    with pytest.raises(ValueError, match=r"^pendulum-swingup: the episode has ended; reset the environment"):
        env.advance([0.5])


def test_the_limit_of_steps_may_be_lower_and_is_never_higher():
    env = env_of("pendulum-swingup", max_steps=2)
    env.reset_state(seed=0)
    assert [env.advance([0.0])[2] for _ in range(2)] == [False, True]
    message = r"^max_steps=501 is never reached: with action_repeat=2 the suite ends an episode after 500 control steps"
    with pytest.raises(ValueError, match=message):
        DmControlConfig(max_steps=501)


def test_the_body_has_a_name_for_every_number_and_the_rate_of_control_steps():
    body = DmControlConfig(task="fish-upright").embodiment
    assert (body.name, body.state_dim, body.action_dim, body.rate_hz) == ("dmc_fish-upright", 21, 5, 12.5)
    assert body.state_names[6:9] == ("joint_angles_6", "upright", "velocity_0")
    assert DmControlConfig(task="cartpole-swingup", action_repeat=4).embodiment.rate_hz == 25


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("cartpole_swingup", "cartpole-swingup"), ("ball_in_cup-catch", "cup-catch"), ("walkr-walk", "walker-walk")],
)
def test_a_near_miss_is_told_with_the_nearest_name(wrong, meant):
    with pytest.raises(ValueError, match=f"^task: no task '{wrong}'; did you mean {meant}\\?$"):
        DmControlConfig(task=wrong).make()


def test_a_task_of_other_sizes_needs_another_environment():
    env = env_of("cartpole-swingup")
    env.reset_state(seed=4, task="cartpole-balance")
    other = env_of("cartpole-balance")
    other.reset_state(seed=4)
    assert np.array_equal(env.state, other.state)
    message = (
        "^tasks: cartpole-balance has 5 state and 1 action dimensions and walker-walk has 24 state and 6 action "
        "dimensions; play tasks of different sizes one at a time$"
    )
    with pytest.raises(ValueError, match=message):
        env.reset_state(task="walker-walk")
    assert env.task == "cartpole-balance"


def test_a_camera_is_told_by_its_id_or_by_its_name():
    env = env_of("walker-walk", render=True, cameras=("0", "side", "1"), image_size=48)
    first, _ = env.reset(seed=2)
    pictures = [first[f"observation.images.{camera}"] for camera in env.config.cameras]
    assert {picture.shape for picture in pictures} == {(48, 48, 3)}
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])
    body = (pictures[0] > (150, 100, 40)).all(axis=-1)  # all is blue but the body
    assert 0.02 < body.mean() < 0.5
    moved = env.step(np.ones(6))[0]["observation.images.0"]
    assert not np.array_equal(moved, pictures[0])
    with pytest.raises(ValueError, match=r"^cameras: no camera '2' in walker-walk; choose from 0 \(side\), 1 \(back\)"):
        env_of("walker-walk", cameras=("2",))


def test_a_target_that_a_reset_moves_is_drawn_where_it_is():
    env = env_of("reacher-easy", render=True)
    places = []
    for seed in (1, 2):
        red = env.reset(seed=seed)[0]["observation.images.0"].astype(int)
        places.append(np.argwhere(red[..., 0] > red[..., 2] + 90).mean(axis=0))
    assert np.linalg.norm(places[0] - places[1]) > 3


def test_the_choice_of_opengl_is_as_before():
    before = os.environ.get("MUJOCO_GL")
    _suite.cache_clear()
    env_of("cartpole-swingup")
    assert os.environ.get("MUJOCO_GL") == before


def test_episodes_do_not_depend_on_the_worker():
    played = []
    for workers in (1, 2):
        env = ShardedVectorEnv(DmControlConfig(task="cartpole-swingup", render=False), 2, workers)
        try:
            env.reset(seed=[3, 4], options={"task": ["cartpole-swingup", "cartpole-balance"]})
            result = env.step_chunk(np.full((2, 10, 1), 0.3, np.float32))
            played.append(np.column_stack([result.observations["observation.state"], result.rewards]))
        finally:
            env.close()
    assert np.array_equal(*played)
    assert not np.array_equal(*played[0])
