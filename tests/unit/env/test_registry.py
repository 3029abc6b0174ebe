"""Every simulator answers what collecting and evaluating ask."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.sim

pytest.importorskip("metaworld")

from tempovla.env.libero_setup import LiberoUnavailableError, package_root  # noqa: E402
from tempovla.env.protocol import SimulatorConfig  # noqa: E402
from tempovla.env.registry import SIMULATOR_REGISTRY, simulator_class, simulator_name  # noqa: E402
from tempovla.timeline.keys import IMAGE_KEY_PREFIX, STATE_KEY  # noqa: E402


@pytest.fixture(params=sorted(SIMULATOR_REGISTRY))
def config(request: pytest.FixtureRequest) -> SimulatorConfig:
    if request.param == "libero":
        try:
            package_root()
        except LiberoUnavailableError as error:
            pytest.skip(str(error))
        request.getfixturevalue("libero_assets")
    return simulator_class(request.param)()


def test_tasks_have_words_and_others_are_refused(config: SimulatorConfig) -> None:
    tasks = config.task_names()
    assert len(tasks) == len(set(tasks)) > 1
    for task in tasks:
        config.check_task(task)
        assert config.instruction(task).islower()
    with pytest.raises(ValueError, match=r"no task|no Meta-World task"):
        config.check_task("dance")


def test_a_config_knows_its_body_and_its_name(config: SimulatorConfig) -> None:
    observations, actions = replace(config, render=False).spaces()
    body = config.embodiment
    assert (body.state_dim,) == observations[STATE_KEY].shape
    assert (body.action_dim,) == actions.shape
    assert simulator_class(simulator_name(config)) is type(config)


def test_what_a_dataset_records_is_what_an_evaluation_takes(config: SimulatorConfig) -> None:
    name = simulator_name(config)
    recording = config.recording(name)
    again = type(config).from_recording(recording, name)
    assert {field: getattr(again, field) for field in config.recorded} == {
        field: value for field, value in recording.items() if field != "simulator"
    }


def test_experts_play_in_what_is_asked_for(config: SimulatorConfig) -> None:
    chosen = type(config).for_experts(max_steps=7, **dict.fromkeys(config.recorded))
    assert chosen == replace(config, **{**config.demonstrated, "max_steps": 7})


def test_configs_travel_to_workers(config: SimulatorConfig) -> None:
    assert pickle.loads(pickle.dumps(config)) == config


def test_episodes_follow_from_seed_and_task_and_fit_the_spaces(config: SimulatorConfig) -> None:
    env = replace(config, render=False).make()
    observations, actions = replace(config, render=False).spaces()
    task = config.task_names()[1]
    env.reset(seed=1)
    first, _ = env.reset(seed=5, options={"task": task, "init_state": None})
    assert (env.task, env.instruction) == (task, config.instruction(task))
    assert list(first) == [STATE_KEY]
    assert observations.contains(first)
    reward, terminated, truncated, info = env.advance(np.zeros(actions.shape))
    assert (terminated, truncated, info["success"]) == (False, False, False)
    assert isinstance(reward, float)
    moved = env.observe()
    again, _ = env.reset(seed=5)
    np.testing.assert_array_equal(again[STATE_KEY], first[STATE_KEY])
    env.advance(np.zeros(actions.shape))
    np.testing.assert_array_equal(env.observe()[STATE_KEY], moved[STATE_KEY])


def test_a_reset_without_observing_begins_the_same_episode(config: SimulatorConfig) -> None:
    env = replace(config, render=False).make()
    task = config.task_names()[1]
    observation, _ = env.reset(seed=5, options={"task": task})
    env.reset_state(seed=6, task=config.task_names()[0])
    env.reset_state(seed=5, task=task)
    assert env.task == task
    np.testing.assert_array_equal(env.state, observation[STATE_KEY])
    beyond = config.init_state_count(task)
    with pytest.raises(ValueError, match=f"init_state={beyond}: "):
        env.reset_state(init_state=beyond)


def test_an_expert_plays_and_every_moment_has_the_same_record(config: SimulatorConfig) -> None:
    env = replace(config, render=False, terminate_on_success=False).make()
    actions = config.spaces()[1]
    env.reset_state(seed=1)
    expert = env.expert()
    records = []
    for _ in range(3):
        records.append({name: value.shape for name, value in env.simulator_record().items()})
        action = expert.act()
        assert actions.contains(action)
        env.advance(action)
    assert records[0] == records[1] == records[2]
    assert all(isinstance(text, str) for text in env.simulator_description().values())


def test_without_cameras_there_is_a_state_and_no_picture(config: SimulatorConfig) -> None:
    env = replace(config, cameras=()).make()
    observation, _ = env.reset(seed=1)
    assert list(observation) == [STATE_KEY]
    with pytest.raises(ValueError, match=r"^cameras=\(\): no camera to render; name one, or .* render=False$"):
        env.render()
    assert replace(config, cameras=(), render=False).make().render() is None


def test_pictures_are_among_the_spaces_by_camera(config: SimulatorConfig) -> None:
    observations, _ = config.spaces()
    for camera in config.cameras:
        assert observations[IMAGE_KEY_PREFIX + camera].dtype == np.uint8
