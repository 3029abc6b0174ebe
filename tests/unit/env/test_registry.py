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
from tempovla.env.registry import SIMULATORS  # noqa: E402
from tempovla.timeline.keys import IMAGE_KEY_PREFIX, STATE_KEY  # noqa: E402


@pytest.fixture(params=sorted(SIMULATORS))
def config(request: pytest.FixtureRequest) -> SimulatorConfig:
    if request.param == "libero":
        try:
            package_root()
        except LiberoUnavailableError as error:
            pytest.skip(str(error))
        request.getfixturevalue("libero_assets")
    return SIMULATORS[request.param]()


def test_tasks_have_words_and_others_are_refused(config: SimulatorConfig) -> None:
    tasks = config.task_names()
    assert len(tasks) == len(set(tasks)) > 1
    for task in tasks:
        config.check_task(task)
        assert config.instruction(task).islower()
    with pytest.raises(ValueError, match=r"no task|no Meta-World task"):
        config.check_task("dance")


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


def test_pictures_are_among_the_spaces_by_camera(config: SimulatorConfig) -> None:
    observations, _ = config.spaces()
    for camera in config.cameras:
        assert observations[IMAGE_KEY_PREFIX + camera].dtype == np.uint8
