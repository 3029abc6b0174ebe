"""The protocol of simulators, for collecting, evaluating and recording.

Nothing here imports torch, as simulator workers load this module, nor gymnasium, which a core installation lacks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

import numpy as np

from tempovla.storage.json_files import shown

if TYPE_CHECKING:
    from gymnasium.spaces import Box, Dict

    from tempovla.env.collect import CollectConfig
    from tempovla.timeline import Embodiment
    from tempovla.timeline.calibration import CameraCalibration

Observation = dict[str, np.ndarray]
Score = Literal["success", "return"]
"""What an episode counts by: whether it solved the task, or the sum of its rewards."""


def checked_action(action: np.ndarray, dims: int) -> np.ndarray:
    """Return an action (A,) as numbers clipped to [-1, 1], (dims,) float64.

    Raises:
        ValueError: unless it has `dims` numbers, all of them finite.
    """
    numbers = np.asarray(action, np.float64)
    if numbers.shape != (dims,) or not np.isfinite(numbers).all():
        raise ValueError(f"action must be {dims} finite numbers in [-1, 1], got {numbers.tolist()}")
    return np.clip(numbers, -1, 1)


def world_ended(config: SimulatorConfig, terminated: bool, success: bool) -> bool:
    """Return whether a terminated episode has ended its world; one that is over because the task is solved has not.

    Args:
        config: of the environment.
        terminated: what the environment said.
        success: whether the task was solved.
    """
    return terminated and not (config.terminate_on_success and success)


def checked_reward(reward: Any) -> float:
    """Return a reward as a float.

    Raises:
        ValueError: telling the reward in a few words, unless it is one real number that is finite.
    """
    number = np.asarray(reward)
    if number.dtype.kind not in "biuf" or number.size != 1:
        raise ValueError(f"{shown(reward)}, which is no number")
    if not np.isfinite(number).all():
        raise ValueError(str(number.item()))
    return float(number.item())


def first_camera(cameras: tuple[str, ...]) -> str:
    """Return the camera whose picture stands for what an environment shows.

    Raises:
        ValueError: if there is none.
    """
    if not cameras:
        raise ValueError("cameras=(): no camera to render; name one, or leave pictures out with render=False")
    return cameras[0]


def shows_depth(config: Any) -> bool:
    """Return whether observations hold depth, which not every simulator can measure."""
    return bool(config.render and getattr(config, "depth", False))


class Expert(Protocol):
    """Plays one episode."""

    def act(self) -> np.ndarray:
        """Return the next action, (A,) float32 in [-1, 1], the gripper last; called once a control step."""


class SimulatorEnv(Protocol):
    """One task at a time; `gymnasium.Env`s whose drawing can be left out are of this kind.

    Observations are `observation.state` (D,) float32 and `observation.images.<camera>` (S, S, 3) uint8 RGB, upright;
    and, where the config has a field `depth` that is True, `observation.depth.<camera>` (S, S, 1) float32 [m].
    """

    @property
    def config(self) -> SimulatorConfig:
        """The config that it was made from."""

    @property
    def task(self) -> str:
        """Name of the task being played."""

    @property
    def instruction(self) -> str:
        """The task in words; it may change within an episode where the config is `Navigated`."""

    @property
    def state(self) -> np.ndarray:
        """`observation.state` of the present moment, (D,) float32."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict]:
        """Start an episode and observe.

        Args:
            seed: the same seed, task and initial state give the same episode, whatever was played before; None goes
                on drawing from what the last seed set up.
            options: `task` names the task from now on, None the present one; `init_state` is the number of a fixed
                initial state of the benchmark, None lets the seed draw one.

        Raises:
            ValueError: for an unknown task, one whose spaces are not this environment's, or an initial state that
                there is not.
        """

    def reset_state(self, *, seed: int | None = None, task: str | None = None, init_state: int | None = None) -> None:
        """Like `reset`, without observing."""

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool, dict]:
        """Apply an action (A,) for one control step without observing; reward, terminated, truncated, info.

        `info["success"]` is True if the task is solved at this moment.
        """

    def observe(self) -> Observation:
        """Draw and return the observation of the present moment."""

    def expert(self) -> Expert:
        """Return the scripted expert of the episode that begins now.

        Raises:
            ValueError: if there is none for the task.
        """

    def simulator_record(self) -> dict[str, np.ndarray]:
        """Return arrays of this moment, by name, for the simulator's own tools; empty if these need none."""

    def simulator_description(self) -> dict[str, str]:
        """Return the facts about the environment for the simulator's own tools; empty where they need none."""


class SimulatorConfig(Protocol):
    """A frozen dataclass with the tasks, pictures and step limits of environments.

    It travels to workers by pickle.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    title: ClassVar[str]
    """The simulator's name for people."""
    recorded: ClassVar[tuple[str, ...]]
    sensors: ClassVar[tuple[str, ...]]
    incidental: ClassVar[tuple[str, ...]]
    varied: ClassVar[tuple[str, ...]]
    demonstrated: ClassVar[Mapping[str, Any]]
    default_init_states: ClassVar[Literal["benchmark", "random"]]
    tasks_are_fixed: ClassVar[bool]
    tasks_share_spaces: ClassVar[bool]
    score: ClassVar[Score]
    packages: ClassVar[tuple[str, ...]]
    example: ClassVar[str]
    """For these eleven and the methods from `from_recording` on see `SimulatorDefaults`, which has them all."""

    @property
    def embodiment(self) -> Embodiment:
        """The body that policies move in the config's task, with its control rate."""

    @property
    def task(self) -> str:
        """The task played until a reset names another one; "" is the first."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras seen, in order."""

    @property
    def render(self) -> bool:
        """Whether there are pictures."""

    @property
    def max_steps(self) -> int | None:
        """Control steps after which an episode is truncated; None is the benchmark's own limit."""

    @property
    def episode_steps(self) -> int | None:
        """Most control steps of an episode of the config's task; None if it is not known before an episode begins."""

    @property
    def terminate_on_success(self) -> bool:
        """Whether episodes end at their first success; experts go on a little to record the end."""

    def make(self) -> SimulatorEnv:
        """Return an environment.

        Raises:
            ValueError: for unknown tasks or cameras, or if something that the simulator needs is missing.
        """

    def spaces(self) -> tuple[Dict, Box]:
        """Return the spaces of each observation and of actions in the config's task; where `tasks_share_spaces`, those
        of all tasks.
        """

    def task_names(self) -> tuple[str, ...]:
        """Return all tasks, in the benchmark's order."""

    def check_task(self, task: str) -> None:
        """Raise a ValueError that names the nearest task unless this is one."""

    def instruction(self, task: str) -> str:
        """Return a task in words."""

    def init_state_count(self, task: str) -> int:
        """Return how many fixed initial states the benchmark has for a task; 0 if the seed alone draws them."""

    @classmethod
    def from_recording(cls, recorded: Mapping[str, Any], simulator: str, **asked: Any) -> Self:
        """Return the config with the given values, else those of a dataset's recording, else the defaults."""

    def recording(self, simulator: str) -> dict[str, Any]:
        """Return the settings that a dataset records."""

    @classmethod
    def for_experts(cls, **asked: Any) -> Self:
        """Return the config in which experts play."""

    def experts(self) -> CollectConfig:
        """Return how experts demonstrate."""

    def words(self, task: str, trained: Sequence[str]) -> str:
        """Return the instruction of a task in an evaluation of a policy that was trained on these instructions."""

    def default_tasks(self, trained: Sequence[str]) -> tuple[str, ...]:
        """Return the tasks of an evaluation that names none."""


@runtime_checkable
class Calibrated(Protocol):
    """An environment that knows how its cameras see."""

    def calibrations(self) -> tuple[CameraCalibration, ...]:
        """Return the calibrations of streams of pictures; a camera that moves within an episode has no pose."""


def calibrations_of(env: SimulatorEnv) -> tuple[CameraCalibration, ...]:
    """Return the calibrations that are recorded with an episode: those of an environment that shows depth."""
    return env.calibrations() if shows_depth(env.config) and isinstance(env, Calibrated) else ()


@runtime_checkable
class Scored(Protocol):
    """An environment that measures more of an episode than whether it solved the task."""

    def figures(self) -> Mapping[str, float]:
        """Return what was measured of the episode until the present moment, by name: finite numbers, of the same names
        in every episode.
        """


def figures_of(env: SimulatorEnv) -> dict[str, float]:
    """Return what an environment measures of its episode, by name; nothing if it is not `Scored`.

    Raises:
        ValueError: naming the figure, if one is not finite.
    """
    measured = {name: float(value) for name, value in env.figures().items()} if isinstance(env, Scored) else {}
    for name, value in measured.items():
        if not math.isfinite(value):
            raise ValueError(f"{env.config.title}: figures()[{name!r}] is {value}; give a finite number")
    return measured


@runtime_checkable
class Surveyed(Protocol):
    """An environment of a car that can be seen from above."""

    def snapshot(self) -> Mapping[str, Any]:
        """Return what is around the car at the present moment, in the frame of the map [m, rad].

        `ego` (3,) is x, y and heading of the ego frame; `ego_box` (5,) the car's rectangle: x and y of its middle,
        heading, length and width; `boxes` (N, 5) those of the others; `lanes` the lanes' middles (K, 2); `lights`
        traffic lights as x, y and a letter: r, y or g, small or capital; and `route` (K, 2).
        """


@runtime_checkable
class Navigated(Protocol):
    """A config of a simulator whose instruction changes within an episode, as that of a navigator does."""

    @property
    def wrong_commands(self) -> bool:
        """Whether the simulator tells a policy something else than what its episode asks for."""


@runtime_checkable
class LimitsChunks(Protocol):
    """A config of a simulator whose tasks mean something only while policies look often enough."""

    def check_execution_horizon(self, actions: int) -> None:
        """Raise a ValueError if a policy may not execute this many actions of a chunk before its next observation."""
