"""Tasks of the DeepMind Control Suite (Tassa et al., 2018) with states, pictures and repeated actions."""

from __future__ import annotations

import copy
import math
import os
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, ClassVar

import numpy as np

from tempovla.env.dm_control_tasks import DM_CONTROL_TASKS, STEPS, suite_name
from tempovla.env.rendering import OffscreenRenderer, select_backend
from tempovla.env.rewarded import Moment, RewardedConfig, RewardedEnv
from tempovla.timeline import Embodiment

_SUPERSAMPLE = 2


@dataclass(frozen=True)
class DmControlConfig(RewardedConfig):
    """Pictures, step limits and repeated actions of a `DmControlEnv`; see `RewardedConfig` for the rest.

    Attributes:
        cameras: ids of the model's cameras, such as 0, in order, or their names.
        max_steps: control steps after which an episode is truncated; None is the suite's limit of 1000 simulator
            steps, which are 500 control steps with an action_repeat of 2. No episode is longer.
    """

    title: ClassVar[str] = "DeepMind Control"
    packages: ClassVar[tuple[str, ...]] = ("dm-control",)
    example: ClassVar[str] = "--tasks cartpole-swingup"

    task: str = "cartpole-swingup"
    cameras: tuple[str, ...] = ("0",)

    def __post_init__(self) -> None:
        super().__post_init__()
        longest = math.ceil(STEPS / self.action_repeat)
        if self.max_steps is not None and self.max_steps > longest:
            raise ValueError(
                f"max_steps={self.max_steps} is never reached: with action_repeat={self.action_repeat} the suite ends "
                f"an episode after {longest} control steps; give no more, or leave it out"
            )

    @property
    def episode_steps(self) -> int:
        """Most control steps of an episode."""
        return self.max_steps or math.ceil(STEPS / self.action_repeat)

    @property
    def embodiment(self) -> Embodiment:
        """The body of the task.

        Raises:
            ValueError: for an unknown task.
        """
        self.check_task(self.task)
        body = DM_CONTROL_TASKS[self.task].body
        return Embodiment(
            name=f"dmc_{self.task}",
            state_dim=len(body.state_names),
            action_dim=body.action_dim,
            rate_hz=1 / (body.step_s * self.action_repeat),
            state_names=body.state_names,
            action_names=tuple(f"actuator_{i} [-1..1]" for i in range(body.action_dim)),
        )

    def make(self) -> DmControlEnv:
        """Return an environment."""
        return DmControlEnv(self)

    def task_names(self) -> tuple[str, ...]:
        """Return all tasks, in alphabetical order of their domains."""
        return tuple(DM_CONTROL_TASKS)

    def instruction(self, task: str) -> str:
        """Return a task in words."""
        return DM_CONTROL_TASKS[task].instruction


class DmControlEnv(RewardedEnv):
    """One task of the DeepMind Control Suite at a time, whose start the reset's seed draws.

    Observation: `observation.state` (D,) float32, all observations of the task, flattened, in the suite's order;
    `observation.images.<camera>` (S, S, 3) uint8 RGB, upright, drawn without shadows and reflections, ten
    times faster than the suite's own pictures.
    Action: (A,) float32 in [-1, 1], rescaled to the bounds of the task's actuators.

    An episode is `truncated` after 1000 simulator steps, or at `max_steps`. No task knows a success. A seed begins the
    same episode as `suite.load(domain, task, task_kwargs={"random": seed}).reset()`, whatever was played before.

    Raises:
        ValueError: for an unknown task or camera.
        RenderingUnavailableError: if images are wanted and cannot be drawn here.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium has it

    config: DmControlConfig

    def __init__(self, config: DmControlConfig | None = None) -> None:
        super().__init__(config or DmControlConfig())
        if self.config.render and self.config.cameras:
            select_backend()
        self._switch_task(self.config.task)
        for camera in self.config.cameras:
            self._camera_name(camera)

    @property
    def simulation(self) -> Any:
        """The suite's own environment of the task (`dm_control.rl.control.Environment`)."""
        return self._simulation

    def draw(self, camera: str) -> np.ndarray:
        """Return one camera's view of the present moment, (S, S, 3) uint8, upright."""
        physics = self._simulation.physics
        renderer = _renderer(self._task, self.config.image_size)
        return renderer.render(physics.model.ptr, physics.data.ptr, self._camera_name(camera))

    def _camera_name(self, camera: str) -> str:
        """The model's name of a camera that is named, or told by its id."""
        known = DM_CONTROL_TASKS[self._task].body.cameras
        if camera in known:
            return camera
        if camera not in map(str, range(len(known))):
            told = ", ".join(f"{number} ({name})" for number, name in enumerate(known))
            raise ValueError(f"cameras: no camera {camera!r} in {self._task}; choose from {told}")
        return known[int(camera)]

    def _switch_task(self, task: str) -> None:
        self._simulation, self._task = _load(task), task
        bounds = self._simulation.action_spec()
        self._low, self._high = (np.broadcast_to(bound, bounds.shape) for bound in (bounds.minimum, bounds.maximum))

    def _begin(self, seed: int) -> np.ndarray:
        self._simulation.task.random.seed(seed)
        return _flat(self._simulation.reset().observation)

    def _simulate(self, action: np.ndarray) -> Moment:
        step = self._simulation.step(action)
        self._state = _flat(step.observation)
        terminated = step.last() and step.discount == 0
        return Moment(float(step.reward), terminated, step.last() and not terminated, success=False)


def _flat(observations: dict[str, Any]) -> np.ndarray:
    return np.concatenate([np.ravel(value) for value in observations.values()]).astype(np.float32)


@cache
def _suite() -> Any:
    """Import the suite without its own drawing, whose OpenGL a machine may lack and which nothing here uses."""
    backend = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disable"
    try:
        from dm_control import suite
    finally:
        del os.environ["MUJOCO_GL"]
        if backend is not None:
            os.environ["MUJOCO_GL"] = backend
    return suite


def _load(task: str) -> Any:
    """The suite's environment of a task, its observations in their own order."""
    return _suite().load(*suite_name(task))


@lru_cache(maxsize=8)
def _renderer(task: str, image_size: int) -> OffscreenRenderer:
    return OffscreenRenderer(copy.copy(_load(task).physics.model.ptr), image_size, _SUPERSAMPLE)
