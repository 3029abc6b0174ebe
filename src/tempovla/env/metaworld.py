"""Meta-World's fifty tabletop tasks (McLean et al., 2025) as Gymnasium environments with pictures and instructions.

Observations carry the keys of a LeRobot dataset: what is recorded from here and what is seen here have the same names.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tempovla.env.base import TaskEnv
from tempovla.env.camera_geometry import camera_calibrations
from tempovla.env.disturbance import Disturbance, move_free_objects
from tempovla.env.metaworld_expert import MetaWorldExpert
from tempovla.env.metaworld_tasks import INSTRUCTIONS, check_task
from tempovla.env.protocol import Observation, checked_action
from tempovla.env.rendering import Marker, OffscreenRenderer, select_backend
from tempovla.env.tabletop import ACTION_DIMS, CONTROL_RATE_HZ, STATE_DIMS, TabletopConfig
from tempovla.timeline.calibration import CameraCalibration
from tempovla.timeline.keys import ENVIRONMENT_STATE_KEY

if TYPE_CHECKING:
    from gymnasium.spaces import Box, Dict

DEMONSTRATION_STEPS = 200
"""Episodes of experts that take longer, because of their disturbance, are not recorded."""

_UPSIDE_DOWN_CAMERAS = frozenset({"corner2"})
_SIMULATOR_STEP_LIMIT = 2**31
_FRAME_DIMS = 18  # Meta-World's observation: this moment's frame, the previous one, the goal
_ENVIRONMENT_DIMS = 2 * _FRAME_DIMS + 3


@dataclass(frozen=True)
class MetaWorldConfig(TabletopConfig):
    """Pictures and step limits of a `MetaWorldEnv`; see `TabletopConfig` for the rest.

    Attributes:
        max_steps: control steps after which an episode is truncated.
        disturbance: moves the task's object in the middle of an episode: what nothing holds in place, such as a puck,
            or else the fixture, such as a drawer, together with its goal. None moves nothing.
        environment_state: observe what Meta-World's own policies see, too: hand, gripper, objects and goal, now and a
            step before, as `observation.environment_state` (39,) float32. Policies of robots have no such thing.
    """

    title: ClassVar[str] = "Meta-World"
    sensors: ClassVar[tuple[str, ...]] = ("depth", "environment_state")
    demonstrated: ClassVar[Mapping[str, Any]] = {"max_steps": DEMONSTRATION_STEPS}
    evaluated: ClassVar[Mapping[str, Any]] = {"max_steps": DEMONSTRATION_STEPS}
    example: ClassVar[str] = "--tasks drawer-open-v3,push-v3"

    task: str = "reach-v3"
    max_steps: int = 500
    disturbance: Disturbance | None = None
    environment_state: bool = False

    def spaces(self) -> tuple[Dict, Box]:
        """Return the spaces of each observation and of actions, the same for all tasks."""
        from gymnasium.spaces import Box, Dict

        observations, actions = super().spaces()
        if not self.environment_state:
            return observations, actions
        known = Box(-np.inf, np.inf, (_ENVIRONMENT_DIMS,), np.float32)
        return Dict({**observations.spaces, ENVIRONMENT_STATE_KEY: known}), actions

    def make(self) -> MetaWorldEnv:
        """Return an environment."""
        return MetaWorldEnv(self)

    def task_names(self) -> tuple[str, ...]:
        """Return all tasks, in alphabetical order."""
        return tuple(INSTRUCTIONS)

    def check_task(self, task: str) -> None:
        """Raise a ValueError that names the nearest tasks unless this is one."""
        check_task(task)

    def instruction(self, task: str) -> str:
        """Return a task in words."""
        return INSTRUCTIONS[task]


class MetaWorldEnv(TaskEnv):
    """One Meta-World task at a time, object and goal positions drawn by the reset's seed.

    Observation: `observation.state` (4,) float32, the hand's position [m] and the gripper's opening [0 closed, 1 open];
    `observation.images.<camera>` (S, S, 3) uint8 RGB, right way up; with `depth`, `observation.depth.<camera>`
    (S, S, 1) float32 [m], as upright. Positions of object and goal are not observed.
    Action: (4,) float32 in [-1, 1], the hand's displacement [cm per control step, 80 Hz] and the gripper's closing
    effort [-1 open, +1 closed].

    An episode is `terminated` at its first success and `truncated` at `max_steps`. The reward is Meta-World's own.
    `reset(seed=s, options={"task": name})` plays another task from then on; the same seed and task give the same
    episode, whatever was played before.

    Attributes:
        markers: what is drawn into the pictures besides the scene, until it is changed; for environments around this.

    Raises:
        ValueError: for an unknown task or camera.
        RenderingUnavailableError: if images are wanted and cannot be drawn here.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_RATE_HZ}  # noqa: RUF012 - as Gymnasium has it

    config: MetaWorldConfig

    def __init__(self, config: MetaWorldConfig | None = None) -> None:
        super().__init__(config or MetaWorldConfig())
        self.markers: tuple[Marker, ...] = ()
        if self.config.render:
            select_backend()
        self._switch_task(self.config.task)
        self._check_cameras()

    @property
    def simulation(self) -> Any:
        """Meta-World's own environment of the task (`metaworld.sawyer_xyz_env.SawyerXYZEnv`)."""
        return self._simulation

    @property
    def layout(self) -> np.ndarray:
        """The random vector behind this episode's object and goal positions, of a length that depends on the task."""
        return self._simulation._last_rand_vec.copy()

    @property
    def privileged_observation(self) -> np.ndarray:
        """(39,) float64, Meta-World's own observation with object and goal: for experts, never for policies."""
        return self._full_observation.copy()

    @property
    def state(self) -> np.ndarray:
        """`observation.state` of the present moment, (4,) float32."""
        return self._full_observation[:STATE_DIMS].astype(np.float32)

    def observe(self) -> Observation:
        """Draw and return the observation of the present moment."""
        observation = super().observe()
        if self.config.environment_state:
            observation[ENVIRONMENT_STATE_KEY] = self._full_observation.astype(np.float32)
        return observation

    def reset_state(self, *, seed: int | None = None, task: str | None = None, init_state: int | None = None) -> None:
        """Like `reset`, without observing; the seed alone draws initial states."""
        self.config.check_init_state(init_state)
        self._seed_generator(seed)
        if task is not None:
            self._switch_task(task)
        # Without a seed, episodes go on being drawn from the generator which the last seed set up.
        self._episode_seed = seed if seed is not None else int(self.np_random.integers(2**31))
        self._simulation.seed(self._episode_seed)
        self._simulation.reset()
        self._full_observation = self._observe_what_reset_moved()
        self._step = 0

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool, dict]:
        """Do as `step` does, without drawing observations."""
        action = checked_action(action, ACTION_DIMS).astype(np.float32)
        if self.config.disturbance is not None and self._step == self.config.disturbance.step:
            self._displace(self.config.disturbance.shift(self._episode_seed))
        self._full_observation, reward, _, _, simulator_info = self._simulation.step(action)
        self._step += 1
        success = bool(simulator_info["success"])
        terminated = success and self.config.terminate_on_success
        return float(reward), terminated, self._step >= self.config.max_steps, {"success": success}

    def expert(self) -> MetaWorldExpert:
        """Meta-World's own expert of the task."""
        return MetaWorldExpert(self._task, lambda: self.privileged_observation)

    def draw(self, camera: str) -> np.ndarray:
        """Return one camera's view of the present moment, (S, S, 3) uint8, upright."""
        image = self._renderer().render(self._simulation.model, self._simulation.data, camera, self.markers)
        return np.ascontiguousarray(image[::-1, ::-1]) if camera in _UPSIDE_DOWN_CAMERAS else image

    def draw_depth(self, camera: str) -> np.ndarray:
        """Return how far away one camera sees things at the present moment, (S, S, 1) float32 [m], upright."""
        depth = self._renderer().depth(self._simulation.model, self._simulation.data, camera, self.markers)
        return np.ascontiguousarray(depth[::-1, ::-1]) if camera in _UPSIDE_DOWN_CAMERAS else depth

    def calibrations(self) -> tuple[CameraCalibration, ...]:
        """Return the calibrations of all streams of pictures; cameras on the hand have no pose."""
        simulation, size = self._simulation, self.config.image_size
        return tuple(
            calibration
            for name in self.config.cameras
            for calibration in camera_calibrations(
                simulation.model,
                simulation.data,
                name,
                name,
                size,
                CONTROL_RATE_HZ,
                turned=name in _UPSIDE_DOWN_CAMERAS,
            )
        )

    def _renderer(self) -> OffscreenRenderer:
        config = self.config
        return _renderer(self._simulation.fullpath, config.image_size, config.supersample, config.mesh_cell_m)

    def _switch_task(self, task: str) -> None:
        if task != self._task:
            self._simulation = _make_simulation(task)
            self._task = task

    def _displace(self, shift: np.ndarray) -> None:
        """Move the task's object by a shift (2,) along the table [m]."""
        import mujoco

        simulation = self._simulation
        model, data = simulation.model, simulation.data
        if move_free_objects(model, data, shift):
            return
        placed = np.flatnonzero((model.body_pos != _compiled_model(simulation.fullpath).body_pos).any(axis=1))
        model.body_pos[placed, :2] += shift
        simulation._target_pos[:2] += shift
        mujoco.mj_forward(model, data)

    def _observe_what_reset_moved(self) -> np.ndarray:
        """Meta-World's observation after a reset, brought up to date along with all poses.

        Meta-World moves goals and objects in the model, and by itself would show and tell it one step later.
        """
        import mujoco

        simulation = self._simulation
        mujoco.mj_kinematics(simulation.model, simulation.data)
        mujoco.mj_camlight(simulation.model, simulation.data)
        observation = simulation._get_obs()
        simulation._prev_obs = observation[:_FRAME_DIMS].copy()
        observation[_FRAME_DIMS : 2 * _FRAME_DIMS] = simulation._prev_obs
        return observation

    def _check_cameras(self) -> None:
        model = self._simulation.model
        known = [model.camera(index).name for index in range(model.ncam)]
        for camera in self.config.cameras:
            if camera not in known:
                raise ValueError(f"cameras: no camera {camera!r} in Meta-World; choose from {', '.join(known)}")


class _CopiedModel:
    """Mixed into a Meta-World class: copies the compiled model instead of compiling it again, 5 times cheaper."""

    fullpath: str

    def _initialize_simulation(self) -> tuple[Any, Any]:
        import mujoco

        model = copy.copy(_compiled_model(self.fullpath))
        return model, mujoco.MjData(model)


@lru_cache(maxsize=16)
def _compiled_model(path: str) -> Any:
    import mujoco

    return mujoco.MjModel.from_xml_path(path)


@cache
def _simulation_class(task: str) -> type:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    check_task(task)
    base = ALL_V3_ENVIRONMENTS[task]
    return type(base.__name__, (_CopiedModel, base), {})


def _make_simulation(task: str) -> Any:
    """Meta-World's environment, drawing its layout from `seed()` and telling its goal in the observation.

    Meta-World hides the goal by default and remembers the matching observation space; its experts then score nothing.
    """
    simulation = _simulation_class(task)()
    simulation._partially_observable = False
    simulation.__dict__.pop("sawyer_observation_space", None)
    simulation._freeze_rand_vec = False
    simulation.seeded_rand_vec = True
    simulation._set_task_called = True
    simulation.max_path_length = _SIMULATOR_STEP_LIMIT
    return simulation


@lru_cache(maxsize=8)
def _renderer(model_path: str, image_size: int, supersample: int, mesh_cell_m: float) -> OffscreenRenderer:
    return OffscreenRenderer(copy.copy(_compiled_model(model_path)), image_size, supersample, mesh_cell_m)
