"""LIBERO's manipulation tasks (Liu et al., 2023) as Gymnasium environments with pictures and instructions.

Physics, success and initial states are LIBERO's own. Pictures are upright, unlike those in LIBERO's HDF5 files, whose
first row is the lowest.
"""

from __future__ import annotations

import copy
import gc
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from tempovla.env import libero_suites
from tempovla.env.base import TaskEnv
from tempovla.env.camera_geometry import camera_calibrations
from tempovla.env.collect import CollectConfig
from tempovla.env.decimate import Coarseness, decimate_meshes
from tempovla.env.defaults import InitStates, SimulatorDefaults, depth_spaces
from tempovla.env.disturbance import Disturbance
from tempovla.env.expert import ActionNoise
from tempovla.env.libero_expert import PickAndPlaceExpert, check_expert
from tempovla.env.libero_simulation import Simulation
from tempovla.env.protocol import checked_action, shows_depth
from tempovla.env.rendering import OffscreenRenderer, select_backend
from tempovla.timeline.calibration import CameraCalibration
from tempovla.timeline.keys import IMAGE_KEY_PREFIX, STATE_KEY

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.spaces import Box, Dict

    from tempovla.timeline import Embodiment

CONTROL_RATE_HZ = 20
DEMONSTRATION_STEPS = 200
"""Episodes of experts that take longer, because of their disturbance, are not recorded."""

ACTION_DIMS = 7
STATE_DIMS = 9

_CAMERA_SUFFIX = "_rgb"
_COLLISION_GROUP = 0
_COARSENESS = Coarseness(cell_share=1 / 9, smallest_cell_m=0.005, near=("gripper",), min_faces=100)
_MAX_RENDERERS = 10  # one suite's tasks


@dataclass(frozen=True)
class LiberoConfig(SimulatorDefaults):
    """Tasks, pictures and step limits of a `LiberoEnv`.

    Attributes:
        suite: libero_object, libero_spatial, libero_goal, libero_10 or libero_90.
        task: the task until a reset names another one; "" is the first of the suite.
        cameras: names of the cameras, in order: agentview_rgb, eye_in_hand_rgb, frontview_rgb, ...
        image_size: height and width of each camera's image, in pixels.
        rendering: "exact" draws the same pixels as robosuite. "fast" draws coarser meshes, several times faster on a
            CPU. Record and evaluate with the same rendering.
        max_steps: number of control steps after which an episode is truncated; None takes the limit of the suite.
        settle_steps: steps without motion before an episode begins, in which objects come to rest; 5 in LIBERO's own
            evaluation (libero/lifelong).
        joint_noise_rad: standard deviation of the arm's joints at the start of an episode with a drawn placement. The
            benchmark's fixed states have 0.02. LIBERO's own draws have none, which is the default.
        terminate_on_success: end the episode at its first success. Experts go on a little to record the end.
        render: False draws no images and needs no OpenGL.
        assets: folder with LIBERO's assets; None searches the places of `locate_assets`.
        depth: observe how far away each camera sees things, too, in whole millimetres.
        disturbance: moves the first object that the task is about in the middle of an episode; None moves nothing.
    """

    title: ClassVar[str] = "LIBERO"
    recorded: ClassVar[tuple[str, ...]] = ("suite", "rendering", "image_size")
    sensors: ClassVar[tuple[str, ...]] = ("depth",)
    incidental: ClassVar[tuple[str, ...]] = ("assets",)
    demonstrated: ClassVar[Mapping[str, Any]] = {"max_steps": DEMONSTRATION_STEPS, "joint_noise_rad": 0.02}
    default_init_states: ClassVar[InitStates] = "benchmark"
    tasks_are_fixed: ClassVar[bool] = False
    example: ClassVar[str] = "--suite libero_object"

    suite: str = "libero_object"
    task: str = ""
    cameras: tuple[str, ...] = ("agentview_rgb", "eye_in_hand_rgb")
    image_size: int = 128
    rendering: Literal["exact", "fast"] = "exact"
    max_steps: int | None = None
    settle_steps: int = 5
    joint_noise_rad: float = 0.0
    terminate_on_success: bool = True
    render: bool = True
    assets: str | None = None
    depth: bool = False
    disturbance: Disturbance | None = None

    def __post_init__(self) -> None:
        libero_suites.check_suite(self.suite)
        if self.image_size < 1:
            raise ValueError(f"image_size={self.image_size} must be at least 1")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"max_steps={self.max_steps} must be at least 1, or null for the suite's limit")
        if self.settle_steps < 0:
            raise ValueError(f"settle_steps={self.settle_steps} must not be negative")
        if self.joint_noise_rad < 0:
            raise ValueError(f"joint_noise_rad={self.joint_noise_rad} must not be negative; 0 is none")
        if self.rendering not in ("exact", "fast"):
            raise ValueError(f"rendering={self.rendering!r}; choose exact or fast")

    @classmethod
    def from_recording(cls, recorded: Mapping[str, Any], simulator: str, **asked: Any) -> Self:
        """As of every simulator, with the step limit of the suite."""
        chosen = super().from_recording(recorded, simulator, **asked)
        return replace(chosen, max_steps=libero_suites.STEP_LIMITS[chosen.suite])

    @property
    def embodiment(self) -> Embodiment:
        """LIBERO's arm."""
        from tempovla.timeline.bodies import LIBERO_PANDA

        return LIBERO_PANDA

    def experts(self) -> CollectConfig:
        """They are disturbed while they act; there are some for LIBERO-Object alone."""
        check_expert(self.suite)
        return CollectConfig(noise=ActionNoise(max_sigma=0.3, correlation=0.8), steps_after_success=10)

    def words(self, task: str, trained: Sequence[str]) -> str:
        """Return a task in the words that the policy was trained on; in the benchmark's where it was trained on others.

        LIBERO words most tasks twice: in the benchmark's name, and in the BDDL file, whose words its own
        demonstrations carry.
        """
        known = {words.casefold(): words for words in trained}
        wordings = (self.instruction(task), libero_suites.problem_words(self.suite, task))
        return next((known[words.casefold()] for words in wordings if words.casefold() in known), wordings[0])

    def default_tasks(self, trained: Sequence[str]) -> tuple[str, ...]:
        """Return all tasks of the suite, because the benchmark counts them all."""
        return self.task_names()

    def make(self) -> LiberoEnv:
        """Return an environment."""
        return LiberoEnv(self)

    def spaces(self) -> tuple[Dict, Box]:
        """Return the spaces of each observation and of actions, the same for all tasks."""
        from gymnasium.spaces import Box, Dict

        observations: dict[str, gymnasium.Space] = {STATE_KEY: Box(-np.inf, np.inf, (STATE_DIMS,), np.float32)}
        if self.render:
            image = Box(0, 255, (self.image_size, self.image_size, 3), np.uint8)
            observations |= {IMAGE_KEY_PREFIX + name: image for name in self.cameras}
        if shows_depth(self):
            observations |= depth_spaces(self.cameras, self.image_size)
        return Dict(observations), Box(-1, 1, (ACTION_DIMS,), np.float32)

    def task_names(self) -> tuple[str, ...]:
        """Return the suite's tasks in the benchmark's order."""
        return libero_suites.task_names(self.suite)

    def check_task(self, task: str) -> None:
        """Raise a ValueError that names the nearest task unless this is one of the suite."""
        libero_suites.check_task(self.suite, task)

    def instruction(self, task: str) -> str:
        """Return a task in words."""
        return libero_suites.instruction(self.suite, task)

    def init_state_count(self, task: str) -> int:
        """Return how many fixed initial states the benchmark has for a task."""
        return len(libero_suites.initial_states(self.suite, task))


class LiberoEnv(TaskEnv):
    """One LIBERO task at a time, from a fixed initial state of the benchmark or from a placement drawn by the seed.

    Observation: `observation.state` (9,) float32, the arm's seven joint positions [rad] and the positions of the
    gripper's two fingers [m]; `observation.images.<camera>` (S, S, 3) uint8 RGB, upright; with `depth`,
    `observation.depth.<camera>` (S, S, 1) float32 [m], as upright.
    Action: (7,) float32 in [-1, 1], robosuite's OSC_POSE: displacement of the hand (1 is 5 cm), its rotation as
    axis-angle (1 is 0.5 rad), both as goals of one control step at 20 Hz, and the gripper (-1 opens, +1 closes).

    An episode is `terminated` at its first success and `truncated` at `max_steps`; settling does not count. The reward
    is 1 where the task is solved, else 0. `reset(seed=s, options={"task": name, "init_state": i})` switches the task,
    if named, and begins at the benchmark's i-th fixed initial state, or, without `init_state`, at a placement that
    LIBERO draws from the seed. As in LIBERO, fixtures (cabinets, stoves) belong to the model and not to a fixed state:
    where a suite has them, they too are drawn from the seed. The same seed, task and initial state give the same
    episode, whatever was played before.

    Raises:
        ValueError: for an unknown suite, task, camera or initial state.
        LiberoUnavailableError: if packages or assets are missing.
        RenderingUnavailableError: if images are wanted and cannot be drawn here.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_RATE_HZ}  # noqa: RUF012 - as Gymnasium has it

    config: LiberoConfig

    def __init__(self, config: LiberoConfig | None = None) -> None:
        super().__init__(config or LiberoConfig())
        if self.config.render:
            select_backend()
        self._max_steps = self.config.max_steps or libero_suites.STEP_LIMITS[self.config.suite]
        self._switch_task(self.config.task or libero_suites.task_names(self.config.suite)[0])
        self._cameras = {name: self._find_camera(name) for name in self.config.cameras}

    @property
    def state(self) -> np.ndarray:
        """`observation.state` of the present moment, (9,) float32."""
        return self._simulation.data.qpos[self._state_indexes].astype(np.float32)

    def reset_state(self, *, seed: int | None = None, task: str | None = None, init_state: int | None = None) -> None:
        """Like `reset`, without observing."""
        self._seed_generator(seed)
        if task is not None:
            self._switch_task(task)
        # Without a seed, episodes go on being drawn from the generator which the last seed set up.
        self._placement_seed = placement_seed = seed if seed is not None else int(self.np_random.integers(2**31))
        fixed_state = None if init_state is None else self._fixed_state(init_state)
        self._simulation.reset(placement_seed, fixed_state, self.config.joint_noise_rad)
        for _ in range(self.config.settle_steps):
            self._simulation.step(np.zeros(ACTION_DIMS))
        self._step = 0

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool, dict]:
        """Do as `step` does, without drawing observations."""
        if self.config.disturbance is not None and self._step == self.config.disturbance.step:
            self._simulation.displace(self.config.disturbance.shift(self._placement_seed))
        success = self._simulation.step(checked_action(action, ACTION_DIMS))
        self._step += 1
        terminated = success and self.config.terminate_on_success
        return float(success), terminated, self._step >= self._max_steps, {"success": success}

    def expert(self) -> PickAndPlaceExpert:
        """Return the expert of LIBERO-Object's tasks; the other suites have none."""
        return PickAndPlaceExpert(self._simulation)

    def simulator_record(self) -> dict[str, np.ndarray]:
        """Return the arrays of a moment that LIBERO's files keep beside observations.

        Returns:
            `states` (1 + nq + nv,), the whole simulator's; `ee_states` (6,), the hand's position [m] and orientation as
            axis-angle [rad].
        """
        simulation = self._simulation
        hand = np.concatenate([simulation.hand_position, simulation.hand_axis_angle])
        return {"states": simulation.state, "ee_states": hand}

    def simulator_description(self) -> dict[str, str]:
        """Return the environment's entries in LIBERO's files: the class `env_name` and the model `model_xml`."""
        return {"env_name": self._simulation.env_name, "model_xml": self._simulation.model_xml}

    @property
    def simulation(self) -> Simulation:
        """State for experts and recorders, and never for policies: poses, the full state, the model's XML."""
        return self._simulation

    def draw(self, camera: str) -> np.ndarray:
        """Return one camera's view of the present moment, (S, S, 3) uint8, upright."""
        renderer = _renderer(self._simulation, self.config)
        return renderer.render(self._simulation.model, self._simulation.data, self._cameras[camera])

    def draw_depth(self, camera: str) -> np.ndarray:
        """Return how far away one camera sees things at the present moment, (S, S, 1) float32 [m], upright."""
        renderer = _renderer(self._simulation, self.config)
        return renderer.depth(self._simulation.model, self._simulation.data, self._cameras[camera])

    def calibrations(self) -> tuple[CameraCalibration, ...]:
        """Return the calibrations of all streams of pictures; a camera on the hand has no pose."""
        model, data, size = self._simulation.model, self._simulation.data, self.config.image_size
        return tuple(
            calibration
            for name, camera in self._cameras.items()
            for calibration in camera_calibrations(model, data, camera, name, size, CONTROL_RATE_HZ)
        )

    def _switch_task(self, task: str) -> None:
        if task == self._task:
            return
        self._simulation = Simulation(self.config.suite, task, self.config.assets)
        gc.collect()  # the last task's objects refer to each other and hold 140 MB
        self._state_indexes = self._simulation.joint_indexes + self._simulation.finger_indexes
        self._task = task

    def _fixed_state(self, index: int) -> np.ndarray:
        states = libero_suites.initial_states(self.config.suite, self._task)
        if not 0 <= index < len(states):
            raise ValueError(f"init_state={index}: {self._task} has {len(states)} initial states, from 0")
        return states[index]

    def _find_camera(self, name: str) -> str:
        """MuJoCo's name of a camera: without `_rgb`, and with the robot's prefix where the robot carries it."""
        model = self._simulation.model
        known = {
            camera.removeprefix("robot0_") + _CAMERA_SUFFIX: camera
            for camera in (model.camera(index).name for index in range(model.ncam))
        }
        if name not in known:
            raise ValueError(f"cameras: no camera {name!r} in {self._task}; choose from {', '.join(known)}")
        return known[name]


_renderers: OrderedDict[tuple, OffscreenRenderer] = OrderedDict()


def _renderer(simulation: Simulation, config: LiberoConfig) -> OffscreenRenderer:
    """The process's renderer of a task, shared by all its environments; the least recently used ones are let go."""
    key = (simulation.suite, simulation.task, config.assets, config.image_size, config.rendering)
    if key not in _renderers:
        model = copy.copy(simulation.model)
        if config.rendering == "fast":
            decimate_meshes(model, _COARSENESS)
        _renderers[key] = OffscreenRenderer(
            model, config.image_size, supersample=1, own_quality=True, hidden_groups=(_COLLISION_GROUP,)
        )
        if len(_renderers) > _MAX_RENDERERS:
            _renderers.popitem(last=False)[1].close()
    _renderers.move_to_end(key)
    return _renderers[key]
