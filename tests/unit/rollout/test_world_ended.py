"""A recording says that the world ended where it did, and not where the time was up or the task was solved."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from tests.in_process import simulators_in_process

pytestmark = pytest.mark.sim

gymnasium = pytest.importorskip("gymnasium")

from tempovla.env.gymnasium_env import GymnasiumConfig  # noqa: E402
from tempovla.rollout.replay import replay  # noqa: E402
from tempovla.rollout.runner import EpisodeResult, EpisodeSpec  # noqa: E402
from tempovla.timeline.keys import DONE_KEY, TERMINATED_KEY  # noqa: E402

ONE = gymnasium.spaces.Box(-1, 1, (1,), np.float32)


class Cliff(gymnasium.Env):
    """It ends at its third step if it `falls`, and is solved then if it can be."""

    observation_space = action_space = ONE

    def __init__(self, falls: bool, solved: bool) -> None:
        self.falls, self.solved = falls, solved

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        third = self.steps == 3
        return np.zeros(1, np.float32), 1.0, third and self.falls, False, {"is_success": third and self.solved}


@pytest.fixture
def cliff() -> Iterator[None]:
    before = dict(gymnasium.registry)
    for falls in (False, True):
        for solved in (False, True):
            name, told = f"Cliff{falls:d}{solved:d}-v0", {"falls": falls, "solved": solved}
            gymnasium.register(name, Cliff, max_episode_steps=4, kwargs=told)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


@pytest.mark.parametrize(
    ("falls", "solved", "stops", "length", "ended"),
    [
        (True, False, False, 3, True),
        (False, False, False, 4, False),
        (False, True, True, 3, False),
        (False, True, False, 4, False),
        (True, True, False, 3, True),
    ],
)
@pytest.mark.usefixtures("cliff")
def test_an_end_is_recorded_where_the_world_ended(falls, solved, stops, length, ended):
    task = f"Cliff{falls:d}{solved:d}-v0"
    config = GymnasiumConfig(task=task, render=False, terminate_on_success=stops)
    played = EpisodeResult(EpisodeSpec(task, 1), "", solved, length, 0.0, None, None, np.zeros((length, 1), np.float32))
    with simulators_in_process():
        (found,) = replay([played], config, workers=1)
    assert found.recording[DONE_KEY][:, 0].tolist() == [False] * (length - 1) + [True]
    assert found.recording[TERMINATED_KEY][:, 0].tolist() == [False] * (length - 1) + [ended]
