"""What environments inherit: observing is apart from going on, and nothing is drawn without rendering."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from tests.toy_simulator import LineConfig

from tempovla.env.base import TaskEnv
from tempovla.timeline.keys import IMAGE_KEY_PREFIX, STATE_KEY


class Counting(TaskEnv):
    """Goes from a drawn number to the next; its pictures count how often they were drawn."""

    drawn = 0

    @property
    def state(self) -> np.ndarray:
        return np.array([self.number], np.float32)

    def reset_state(self, *, seed: int | None = None, task: str | None = None, init_state: int | None = None) -> None:
        self._seed_generator(seed)
        self._task = task or self._task
        self.number = int(self.np_random.integers(1000)) if init_state is None else init_state

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool, dict]:
        self.number += int(action[0])
        return 0.5, self.number > 9, False, {"success": self.number > 9}

    def draw(self, camera: str) -> np.ndarray:
        self.drawn += 1
        return np.full((2, 2, 3), len(camera), np.uint8)


def make(cameras: Sequence[str] = ("left", "right"), *, render: bool = True) -> Counting:
    return Counting(LineConfig(cameras=tuple(cameras), render=render), "left")


def test_a_reset_switches_the_task_and_says_what_is_played():
    env = make()
    observation, info = env.reset(options={"task": "right", "init_state": 4})
    assert observation[STATE_KEY].tolist() == [4]
    assert info == {"task": "right", "instruction": "go right", "success": False}
    assert (env.task, env.instruction) == ("right", "go right")


def test_a_step_goes_on_and_observes_and_advancing_does_not_look():
    env = make()
    env.reset(options={"init_state": 7})
    drawn = env.drawn
    assert env.advance(np.ones(2)) == (0.5, False, False, {"success": False})
    assert env.drawn == drawn
    observation, *rest = env.step(np.full(2, 2))
    assert rest == [0.5, True, False, {"success": True}]
    assert observation[STATE_KEY].tolist() == [10]
    assert [int(observation[IMAGE_KEY_PREFIX + name][0, 0, 0]) for name in ("left", "right")] == [4, 5]
    assert env.drawn == drawn + 2


def test_the_first_camera_stands_for_what_is_seen_and_nothing_is_drawn_without_rendering():
    assert make().render().tolist() == np.full((2, 2, 3), 4).tolist()
    blind = make(render=False)
    observation, _ = blind.reset(seed=0)
    assert list(observation) == [STATE_KEY]
    assert (blind.render(), blind.render_mode, blind.drawn) == (None, None, 0)
    with pytest.raises(ValueError, match="no camera to render"):
        make(()).render()


def test_a_seed_says_what_is_drawn_from_it_and_none_goes_on():
    env = make(render=False)

    def numbers() -> list[float]:
        seeds = (3, None, None)
        return [float(env.reset(seed=seed)[0][STATE_KEY][0]) for seed in seeds]

    first = numbers()
    assert numbers() == first
    assert len(set(first)) == 3


def test_there_is_nothing_for_other_tools_unless_a_simulator_says_so():
    env = make()
    assert (env.simulator_record(), env.simulator_description()) == ({}, {})
