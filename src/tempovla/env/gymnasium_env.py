"""Any environment that Gymnasium (Towers et al., 2024) has registered, if it has a vector of numbers as its state."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from tempovla.env.protocol import checked_reward
from tempovla.env.rendering import select_backend
from tempovla.env.rewarded import Moment, RewardedConfig, RewardedEnv
from tempovla.timeline import Embodiment
from tempovla.timeline.keys import STATE_KEY
from tempovla.timeline.plugins import plugins_in_use, use_plugin

CAMERA = "render"
"""The only camera: what the environment's `render()` returns."""


@dataclass(frozen=True)
class GymnasiumConfig(RewardedConfig):
    """Pictures, step limits and repeated actions of a `GymnasiumEnv`; see `RewardedConfig` for the rest.

    Attributes:
        cameras: `render`, the environment's own picture, or none.
        image_size: height and width to which the environment's picture is scaled, in pixels.
        max_steps: control steps after which an episode is truncated; None is the limit with which the environment is
            registered, in simulator steps.
    """

    title: ClassVar[str] = "Gymnasium"
    example: ClassVar[str] = "--tasks Pendulum-v1"

    task: str = "InvertedPendulum-v5"
    cameras: tuple[str, ...] = (CAMERA,)
    action_repeat: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        for camera in self.cameras:
            if camera != CAMERA:
                raise ValueError(f"cameras: no camera {camera!r} in Gymnasium; there is only {CAMERA!r}")

    @property
    def episode_steps(self) -> int | None:
        """Most control steps of an episode; None for an environment whose episodes have no end."""
        from gymnasium import spec

        self.check_task(self.task)
        limit = spec(self.task).max_episode_steps
        return self.max_steps or (None if limit is None else math.ceil(limit / self.action_repeat))

    @property
    def embodiment(self) -> Embodiment:
        """The body of the task; without a rate in the environment's metadata, a simulator step lasts one second."""
        self.check_task(self.task)
        state_dim, action_dim, rate_hz = _sizes(self.task)
        return Embodiment(f"gym_{self.task}", state_dim, action_dim, rate_hz / self.action_repeat)

    def make(self) -> GymnasiumEnv:
        """Return an environment."""
        return GymnasiumEnv(self)

    def task_names(self) -> tuple[str, ...]:
        """Return the ids of all registered environments, also of those that are of no use here."""
        from gymnasium import registry

        return tuple(registry)

    def check_task(self, task: str) -> None:
        """Raise a ValueError that names the nearest id unless this one is registered."""
        known = self.task_names()
        if task in known:
            return
        module, colon, name = task.partition(":")
        if colon:
            raise ValueError(f"task: {task!r} names a module, which is not imported; give --plugin {module} and {name}")
        near = get_close_matches(task, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "name the module that registers it with --plugin MODULE"
        raise ValueError(f"task: no task {task!r} is registered with Gymnasium; {hint}")

    def instruction(self, task: str) -> str:
        """Return the words of an id: `InvertedPendulum-v5` is "inverted pendulum v5"."""
        return " ".join(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", re.sub(r"[-_/:]", " ", task)).lower().split())

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the processes that simulate import the plugins that may have registered the task."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return _arrived, (plugins_in_use(), type(self), values)


def _arrived(plugins: tuple[str, ...], config_class: type[GymnasiumConfig], values: dict[str, Any]) -> GymnasiumConfig:
    for plugin in plugins:
        use_plugin(plugin)
    return config_class(**values)


class GymnasiumEnv(RewardedEnv):
    """One environment of Gymnasium at a time, which the reset's seed starts.

    Observation: `observation.state` (D,) float32, the environment's own vector; `observation.images.render` (S, S, 3)
    uint8 RGB, what `render()` returns, scaled to a square.
    Action: (A,) float32 in [-1, 1], rescaled to the environment's bounds.

    `info["success"]` is what the environment says under `is_success` or `success`, and False where it says nothing.

    Raises:
        ValueError: for an id that is not registered, an environment that cannot be made, a state that is no vector,
            actions that are no vector with finite bounds, episodes without an end, a state that is not of the
            declared shape, or a state or reward that is not finite.
        RenderingUnavailableError: if MuJoCo is to draw images and cannot.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium has it

    config: GymnasiumConfig
    _simulation: Any

    def __init__(self, config: GymnasiumConfig | None = None) -> None:
        super().__init__(config or GymnasiumConfig())
        self._switch_task(self.config.task)

    @property
    def simulation(self) -> Any:
        """Gymnasium's own environment."""
        return self._simulation

    def draw(self, camera: str) -> np.ndarray:
        """Return the environment's picture of the present moment, (S, S, 3) uint8, upright."""
        from gymnasium.error import DependencyNotInstalled
        from PIL import Image

        try:
            picture = np.asarray(self._simulation.render())
        except DependencyNotInstalled as error:
            raise ValueError(f"task: {self._task} cannot be drawn: {error}; or leave pictures out") from error
        if picture.ndim != 3 or picture.shape[-1] != 3 or picture.dtype != np.uint8:
            told = f"{picture.dtype} of shape {picture.shape}"
            raise ValueError(f"task: {self._task} draws {told} and no (H, W, 3) uint8; leave pictures out")
        size = self.config.image_size
        return np.array(Image.fromarray(picture).resize((size, size), Image.Resampling.BOX))

    def close(self) -> None:
        """Close Gymnasium's environment."""
        self._simulation.close()

    def _switch_task(self, task: str) -> None:
        config = self.config
        config.check_task(task)
        draws = config.render and bool(config.cameras)
        limit = None if config.max_steps is None else config.max_steps * config.action_repeat
        if draws:
            select_backend()
        drawing = {"render_mode": "rgb_array"} if draws else {}
        made = _make(task, max_episode_steps=limit, **drawing)
        if made.spec.max_episode_steps is None:
            raise ValueError(f"task: the episodes of {task} have no end; give max_steps")
        if self._task:
            self._simulation.close()
        self._simulation, self._task = made, task
        self._low, self._high = made.action_space.low, made.action_space.high

    def _begin(self, seed: int) -> np.ndarray:
        observation, _ = self._simulation.reset(seed=seed)
        self._simulator_step = 0
        return self._checked(observation)

    def _simulate(self, action: np.ndarray) -> Moment:
        space = self._simulation.action_space
        observation, reward, terminated, truncated, info = self._simulation.step(action.astype(space.dtype))
        self._simulator_step += 1
        self._state = self._checked(observation)
        try:
            number = checked_reward(reward)
        except ValueError as error:
            told = f"task: {self._task} gives the reward {error} at {self._when()}; mend the environment"
            raise ValueError(told) from None
        return Moment(number, bool(terminated), bool(truncated), _success(info))

    def _checked(self, observation: Any) -> np.ndarray:
        seen = np.asarray(observation)
        declared = self._simulation.observation_space
        if seen.shape != declared.shape or seen.dtype.kind not in "biuf":
            raise ValueError(
                f"task: {self._task} observes {STATE_KEY!r} as {seen.dtype} of shape {seen.shape} at {self._when()}, "
                f"but declares {declared.dtype} of shape {declared.shape}; mend the environment"
            )
        with np.errstate(over="ignore"):  # what float32 does not hold becomes infinite, and is refused as such
            state = seen.astype(np.float32)
        if not np.isfinite(state).all():
            place = int(np.flatnonzero(~np.isfinite(state))[0])
            raise ValueError(
                f"task: {self._task} observes {state[place]} in dimension {place} at {self._when()}; mend the "
                "environment"
            )
        return state

    def _when(self) -> str:
        return f"step {self._simulator_step}" if self._simulator_step else "the start of an episode"


def _success(info: Mapping[str, Any]) -> bool:
    return bool(info.get("is_success", info.get("success", False)))


@lru_cache(maxsize=64)
def _sizes(task: str) -> tuple[int, int, float]:
    """The sizes of a task's state and action, and its simulator steps a second."""
    made = _make(task)
    try:
        rate_hz = float(made.metadata.get("render_fps") or 1)
        return made.observation_space.shape[0], made.action_space.shape[0], rate_hz
    finally:
        made.close()


def _make(task: str, **options: Any) -> Any:
    """Gymnasium's environment of a registered id, whose spaces are of use here."""
    import gymnasium

    try:
        made = gymnasium.make(task, disable_env_checker=True, **options)
    except (gymnasium.error.Error, ImportError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"task: {task} cannot be made: {reason}") from error
    wrong = _unfit(made.observation_space, made.action_space)
    if wrong:
        made.close()
        raise ValueError(f"task: {task} {wrong}")
    return made


def _unfit(observations: Any, actions: Any) -> str:
    """Why an environment of these spaces is of no use here, in words; empty if it is."""
    from gymnasium.spaces import Box

    if not isinstance(observations, Box) or len(observations.shape) != 1:
        return f"observes {_named(observations)} and no vector; register it in a wrapper that flattens observations"
    if not isinstance(actions, Box):
        return f"has actions of {_named(actions)}; choose a task with continuous actions"
    if len(actions.shape) != 1 or not np.issubdtype(actions.dtype, np.floating):
        return f"has actions of {_named(actions)} and no vector of floats; register it in a wrapper that gives one"
    if not actions.is_bounded("both"):
        return (
            f"has actions without finite bounds, from {actions.low.min()} to {actions.high.max()}; register it in a "
            "wrapper that bounds them"
        )
    with np.errstate(over="ignore"):
        width = actions.high - actions.low
    if not np.isfinite(width).all():
        return (
            f"has actions from {actions.low.min():g} to {actions.high.max():g}, whose distance {actions.dtype} cannot "
            "hold; register it in a wrapper that narrows the bounds"
        )
    return ""


def _named(space: Any) -> str:
    """A space in a few words."""
    shape = f" of shape {space.shape}" if space.shape else ""
    return f"{type(space).__name__}{shape}"
