"""Common base of environments; drawing observations is a separate step, so that it can be left out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from tempovla.env.protocol import Observation, SimulatorConfig, first_camera, shows_depth
from tempovla.timeline.keys import DEPTH_KEY_PREFIX, IMAGE_KEY_PREFIX, STATE_KEY

if TYPE_CHECKING:
    from tempovla.timeline.calibration import CameraCalibration

if TYPE_CHECKING or find_spec("gymnasium"):
    from gymnasium import Env
else:

    class Env:
        """Lets simulators be listed without the extra `sim`; making one raises, as its spaces need gymnasium."""


class TaskEnv(Env, ABC):
    """One task of a simulator at a time. Subclasses define how an episode starts, advances, and is drawn.

    With `expert`, which they add, they are a `SimulatorEnv`.

    Args:
        config: what it was made from.
        task: name of the task being played; "" until the subclass has set one up.
    """

    config: SimulatorConfig

    def __init__(self, config: SimulatorConfig, task: str = "") -> None:
        self.config = config
        self._task = task
        self.render_mode = "rgb_array" if config.render else None
        self.observation_space, self.action_space = config.spaces()

    @property
    def task(self) -> str:
        """Name of the task being played."""
        return self._task

    @property
    def instruction(self) -> str:
        """The task in words."""
        return self.config.instruction(self._task)

    @property
    @abstractmethod
    def state(self) -> np.ndarray:
        """`observation.state` of the present moment, (D,) float32."""

    @abstractmethod
    def reset_state(self, *, seed: int | None = None, task: str | None = None, init_state: int | None = None) -> None:
        """Like `reset`, without observing."""

    @abstractmethod
    def advance(self, action: np.ndarray) -> tuple[float, bool, bool, dict]:
        """Do as `step` does, without drawing observations."""

    @abstractmethod
    def draw(self, camera: str) -> np.ndarray:
        """Return one camera's view of the present moment, (S, S, 3) uint8, upright."""

    def draw_depth(self, camera: str) -> np.ndarray:
        """Return how far away one camera sees things at the present moment, (S, S, 1) float32 [m] along its axis,
        upright; 0 where there is no reading.

        Raises:
            NotImplementedError: if the simulator measures no depth; its config then has no field `depth`.
        """
        raise NotImplementedError

    def calibrations(self) -> tuple[CameraCalibration, ...]:
        """Return what is known of the cameras' geometry, by stream; nothing by default.

        A camera that moves within an episode has no pose.
        """
        return ()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        """Start an episode; `options` may hold `task`, to switch to first, and `init_state`."""
        options = options or {}
        self.reset_state(seed=seed, task=options.get("task"), init_state=options.get("init_state"))
        return self.observe(), {"task": self._task, "instruction": self.instruction} | self._info()

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict]:
        """Apply an action for one control step, and observe."""
        reward, terminated, truncated, info = self.advance(action)
        return self.observe(), reward, terminated, truncated, info

    def observe(self) -> Observation:
        """Draw and return the observation of the present moment."""
        observation = {STATE_KEY: self.state}
        if self.config.render:
            observation |= {IMAGE_KEY_PREFIX + name: self.draw(name) for name in self.config.cameras}
        if shows_depth(self.config):
            observation |= {DEPTH_KEY_PREFIX + name: self.draw_depth(name) for name in self.config.cameras}
        return observation

    def render(self) -> np.ndarray | None:
        """Return the first camera's view, (S, S, 3) uint8, or None without rendering."""
        return self.draw(first_camera(self.config.cameras)) if self.config.render else None

    def simulator_record(self) -> dict[str, np.ndarray]:
        """Return the arrays of this moment for the simulator's own tools; empty by default."""
        return {}

    def simulator_description(self) -> dict[str, str]:
        """Return the facts about the environment for the simulator's own tools; empty by default."""
        return {}

    def _info(self) -> dict[str, bool]:
        """What is known beside task and instruction when an episode starts."""
        return {"success": False}

    def _seed_generator(self, seed: int | None) -> None:
        """Set up `np_random` as Gymnasium does; None goes on drawing from what the last seed set up."""
        super().reset(seed=seed)
