"""Tasks that are scored by their rewards: what simulators of reinforcement learning have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, NoReturn

import numpy as np

from tempovla.env.base import TaskEnv
from tempovla.env.defaults import SimulatorDefaults, check_alike
from tempovla.env.protocol import Score, checked_action
from tempovla.timeline import Embodiment
from tempovla.timeline.arguments import whole_number


@dataclass(frozen=True)
class RewardedConfig(SimulatorDefaults):
    """Pictures, step limits and repeated actions of all simulators whose score is the return.

    Attributes:
        task: the task until a reset names another one, which must have the same sizes.
        cameras: names of cameras, in order.
        image_size: height and width of each camera's image, in pixels.
        max_steps: number of control steps after which an episode is truncated; None takes the limit of the task.
        action_repeat: number of simulator steps in a control step, which executes one action and sums the rewards.
        terminate_on_success: end the episode at its first success, where the task knows one.
        render: False draws no images and needs no OpenGL.
    """

    title: ClassVar[str]
    recorded: ClassVar[tuple[str, ...]] = ("action_repeat", "image_size")
    tasks_share_spaces: ClassVar[bool] = False
    score: ClassVar[Score] = "return"

    task: str = ""
    cameras: tuple[str, ...] = ()
    image_size: int = 64
    max_steps: int | None = None
    action_repeat: int = 2
    terminate_on_success: bool = False
    render: bool = True

    def __post_init__(self) -> None:
        for name in ("image_size", "action_repeat", "max_steps"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, whole_number(name, value, least=1))

    @property
    def embodiment(self) -> Embodiment:
        """The body of the task."""
        raise NotImplementedError

    def make(self) -> RewardedEnv:
        """Return an environment."""
        raise NotImplementedError

    def experts(self) -> NoReturn:
        """Raise a ValueError, as there are none."""
        raise ValueError(
            f"{self.title} has no scripted experts to record; collect in metaworld, memory or libero, or record the "
            "episodes of a policy with `tempovla eval SIMULATOR --record DIR`"
        )

    def default_tasks(self, trained: Sequence[str]) -> tuple[str, ...]:
        """Return the tasks that the policy was trained on.

        Raises:
            ValueError: if these are not known, as most of the simulator's tasks have other sizes.
        """
        known = tuple(task for task in self.task_names() if self.words(task, trained) in trained)
        if not known:
            raise ValueError(f"tasks: it is not known which tasks the policy learned; name them: {self.example}")
        return known


class Moment(NamedTuple):
    """What a simulator step leads to; `success` is False where the task knows none."""

    reward: float
    terminated: bool
    truncated: bool
    success: bool


class RewardedEnv(TaskEnv):
    """One task of a `RewardedConfig` at a time.

    Actions (A,) are in [-1, 1], and are rescaled to the task's bounds. Each is executed for `action_repeat` simulator
    steps, or until the episode ends. The reward of a control step is the sum of theirs.
    """

    config: RewardedConfig
    _low: np.ndarray
    _high: np.ndarray

    @property
    def state(self) -> np.ndarray:
        """`observation.state` of the present moment, (D,) float32."""
        return self._state.copy()

    def reset_state(self, *, seed: int | None = None, task: str | None = None, init_state: int | None = None) -> None:
        """Like `reset`, without observing; the seed alone draws initial states."""
        self.config.check_init_state(init_state)
        if task is not None and task != self._task:
            self.config.check_task(task)
            check_alike(self.config, (self._task, task))
            self._switch_task(task)
        self._seed_generator(seed)
        # Without a seed, episodes go on being drawn from the generator which the last seed set up.
        self._step, self._is_over = 0, False
        self._state = self._begin(seed if seed is not None else int(self.np_random.integers(2**31)))

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool, dict]:
        """Do as `step` does, without drawing observations."""
        if self._is_over:
            raise ValueError(f"{self._task}: the episode has ended; reset the environment before the next step")
        action = checked_action(action, len(self._low))
        executed = self._low + (action + 1) / 2 * (self._high - self._low)
        total, success = 0.0, False
        for _ in range(self.config.action_repeat):
            moment = self._simulate(executed)
            total, success = total + moment.reward, success or moment.success
            self._is_over = moment.terminated or moment.truncated
            if self._is_over:
                break
        self._step += 1
        terminated = moment.terminated or (success and self.config.terminate_on_success)
        truncated = moment.truncated or self._step == self.config.max_steps
        return total, terminated, truncated, {"success": success}

    def expert(self) -> NoReturn:
        """Raise a ValueError, as there is none."""
        self.config.experts()

    @abstractmethod
    def _switch_task(self, task: str) -> None:
        """Make the simulation of a task, and set `_task` and the bounds (A,) of its actions, `_low` and `_high`."""

    @abstractmethod
    def _begin(self, seed: int) -> np.ndarray:
        """Start the episode of a seed; return its first state, (D,) float32."""

    @abstractmethod
    def _simulate(self, action: np.ndarray) -> Moment:
        """Do one simulator step with an action (A,) within the task's bounds, and set `_state` (D,) float32."""
