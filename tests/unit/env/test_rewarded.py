"""Repeated actions and summed rewards, on a simulator of nothing but numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from tempovla.env.rewarded import Moment, RewardedConfig, RewardedEnv
from tempovla.timeline import Embodiment


@dataclass(frozen=True)
class CountConfig(RewardedConfig):
    title: ClassVar[str] = "Count"
    example: ClassVar[str] = "--tasks up"
    task: str = "up"
    ends_at: int = 100
    solved_at: int = 100

    @property
    def embodiment(self) -> Embodiment:
        return Embodiment("count", 1, 2, 10.0)

    def make(self) -> CountEnv:
        return CountEnv(self)

    def task_names(self) -> tuple[str, ...]:
        return ("up", "down")

    def instruction(self, task: str) -> str:
        return f"count {task}"


class CountEnv(RewardedEnv):
    """Counts its simulator steps, and rewards each with its number."""

    config: CountConfig

    def __init__(self, config: CountConfig) -> None:
        super().__init__(config)
        self.done: list[np.ndarray] = []
        self._switch_task(config.task)

    def draw(self, camera: str) -> np.ndarray:
        raise AssertionError

    def _switch_task(self, task: str) -> None:
        self._task, self._low, self._high = task, np.array([-2.0, 0.0]), np.array([2.0, 10.0])

    def _begin(self, seed: int) -> np.ndarray:
        return np.zeros(1, np.float32)

    def _simulate(self, action: np.ndarray) -> Moment:
        self.done.append(action)
        self._state = self._state + 1
        count = int(self._state[0])
        return Moment(float(count), count == self.config.ends_at, False, count == self.config.solved_at)


def played(**settings) -> CountEnv:
    env = CountConfig(**settings).make()
    env.reset_state(seed=0)
    return env


def test_an_action_is_repeated_and_its_rewards_are_summed():
    env = played(action_repeat=3)
    assert [env.advance([0, 0])[0] for _ in range(2)] == [1 + 2 + 3, 4 + 5 + 6]
    assert env.state.tolist() == [6]


def test_actions_are_clipped_and_rescaled_to_the_bounds():
    env = played(action_repeat=1)
    for action in ([-1, -1], [0, 0], [1, 0.5], [3, -9]):
        env.advance(action)
    assert np.array(env.done).tolist() == [[-2, 0], [0, 5], [2, 7.5], [2, 0]]
    with pytest.raises(ValueError, match="action must be 2 finite numbers"):
        env.advance([np.nan, 0])


def test_an_episode_that_ends_amid_a_repeat_is_over():
    env = played(action_repeat=2, ends_at=3)
    assert env.advance([0, 0])[:3] == (3, False, False)
    assert env.advance([0, 0])[:3] == (3, True, False)
    with pytest.raises(ValueError, match="the episode has ended"):
        env.advance([0, 0])


def test_a_success_amid_a_repeat_counts_and_ends_the_episode_only_where_that_is_wanted():
    assert [played(solved_at=1).advance([0, 0])[index] for index in (1, 3)] == [False, {"success": True}]
    assert played(solved_at=1, terminate_on_success=True).advance([0, 0])[1]


@pytest.mark.parametrize("name", ["action_repeat", "image_size", "max_steps"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"^{name}=0 must be at least 1$"):
        CountConfig(**{name: 0})


def test_there_are_no_experts():
    message = r"^Count has no scripted experts to record; collect in metaworld, memory or libero"
    for ask in (CountConfig().experts, played().expert):
        with pytest.raises(ValueError, match=message):
            ask()


def test_the_default_tasks_are_those_that_the_policy_learned():
    assert CountConfig().default_tasks(("count down",)) == ("down",)
    with pytest.raises(ValueError, match=r"^tasks: it is not known .* name them: --tasks up$"):
        CountConfig().default_tasks(())


def test_fixed_initial_states_are_refused():
    with pytest.raises(ValueError, match=r"^init_state=0: Count has no fixed initial states; give None$"):
        played().reset_state(init_state=0)
