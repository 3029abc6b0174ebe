"""LIBERO's physics of one task, without its cameras and observables, beginning each episode as if newly made."""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import numpy as np

from tempovla.env import libero_suites
from tempovla.env.disturbance import move_free_objects
from tempovla.env.libero_control import HeldGoal
from tempovla.env.libero_setup import (
    ASSETS_VARIABLE,
    DOWNLOAD_COMMAND,
    LiberoUnavailableError,
    import_environments,
    locate_assets,
)

_JOINT_NOISE_STREAM = 2
_MAX_DRAWS = 200
"""Of a placement. LIBERO gives one up after 5000 tries, 0.2 s; of 600 in LIBERO-Object it gave up none."""


class Simulation:
    """LIBERO's environment of one task, without its cameras and observables, beginning each episode anew.

    Nothing of an episode is left in the next: robosuite's soft reset, cheaper than compiling the model again as LIBERO
    does, keeps the gripper's last command and where fixtures were; both are reset here.

    Attributes:
        suite: the suite's name.
        task: the task's name.
        env_name: the class of LIBERO's environment.
        model: MuJoCo's compiled model.
        data: MuJoCo's data: the present state.
        objects_of_interest: what the task is about, the object to move first.
        object_names: every movable object.
        joint_indexes: where the arm's seven joints are in `data.qpos`.
        finger_indexes: where the gripper's two fingers are.
    """

    def __init__(self, suite: str, task: str, assets: str | None = None) -> None:
        self.suite, self.task = suite, task
        self._control = _make_control_environment(suite, task, assets)
        self._env = self._control.env
        self._mujoco = importlib.import_module("mujoco")
        for name in self._env.observation_names:
            self._env.modify_observable(name, "enabled", False)
        self._env.sim.reset = self._restart
        self.model, self.data = self._env.sim.model._model, self._env.sim.data._data
        self.model.opt.disableflags |= self._mujoco.mjtDisableBit.mjDSBL_SENSOR  # nobody reads the wrist's force sensor
        self._xml = self._env.sim.model.get_xml()  # now, as MuJoCo writes the model that it compiled last
        self._pristine = self._arrays_that_resets_change()
        self.env_name = type(self._env).__name__
        robot = self._env.robots[0]
        self._robot = robot
        self._held_goal = HeldGoal(self.model, self.data, robot)
        self.joint_indexes: list[int] = list(robot._ref_joint_pos_indexes)
        self.finger_indexes: list[int] = list(robot._ref_gripper_joint_pos_indexes)
        self.objects_of_interest: tuple[str, ...] = tuple(self._env.obj_of_interest)
        self.object_names: tuple[str, ...] = tuple(self._env.objects_dict)

    def reset(self, seed: int, fixed_state: np.ndarray | None = None, joint_noise_rad: float = 0.0) -> None:
        """Draw a placement, then put all joints where the fixed state has them, if one is given.

        Where none is, the arm's joints are moved by normal noise of this standard deviation, like those of the
        benchmark's fixed states.

        Raises:
            ValueError: if LIBERO finds no placement possible.
        """
        with _numpy_seeded(seed):
            self._place(seed)
        state = fixed_state
        if state is None and joint_noise_rad:
            state = self.state
            generator = np.random.default_rng([seed, _JOINT_NOISE_STREAM])
            state[1 + np.array(self.joint_indexes)] += joint_noise_rad * generator.standard_normal(7)
        if state is not None:
            self._control.set_init_state(state)

    def _place(self, seed: int) -> None:
        """Draw until LIBERO finds a placement possible. Its own loop never ends, and passes over every other error."""
        impossible = importlib.import_module("robosuite.utils.errors").RandomizationError
        for _ in range(_MAX_DRAWS):
            with contextlib.suppress(impossible):
                self._env.reset()
                return
        raise ValueError(
            f"seed={seed}: LIBERO found none of {_MAX_DRAWS} placements of {self.task} possible; take another seed"
        )

    def _arrays_that_resets_change(self) -> dict[str, np.ndarray]:
        """As compiled: LIBERO places things upon fixtures by where sites are before these are placed themselves."""
        model = self.model
        if self._env.fixtures:
            model = self._mujoco.MjModel.from_xml_string(self._env.model.get_xml())
        return {name: getattr(model, name).copy() for name in ("body_pos", "body_quat", "site_rgba")}

    def _restart(self) -> None:
        """What robosuite's environment calls to reset MuJoCo: leaves all as if model and data had just been made.

        A freshly made environment solves twice before anything is placed, and the solver starts from its last solution:
        without that, states would differ from LIBERO's in the last digits.
        """
        for name, value in self._pristine.items():
            getattr(self.model, name)[:] = value
        self._robot.gripper.current_action = np.zeros(self._robot.gripper.dof)
        self._mujoco.mj_resetData(self.model, self.data)
        for _ in range(2):
            self._mujoco.mj_forward(self.model, self.data)

    def displace(self, shift: np.ndarray) -> None:
        """Move the first object that the task is about by a shift (2,) along the table [m], and stop it.

        Raises:
            ValueError: if the task is about fixtures alone, which cannot be moved.
        """
        movable = [name for name in self.objects_of_interest if name in self.object_names]
        if not movable:
            raise ValueError(f"{self.task}: is about fixtures alone, which a disturbance cannot move; leave it out")
        joints = self._env.objects_dict[movable[0]].joints
        move_free_objects(self.model, self.data, shift, tuple(joints))

    def step(self, action: np.ndarray) -> bool:
        """Take one control step of 25 of physics; whether the task is solved after it.

        Bit for bit what robosuite's own loop does, in half of its time: robosuite computes positions, velocities and
        contacts three times at each of the 25 states. What is solved twice here is solved twice there, too, and the
        second solution starts from the first.
        """
        solve_again = (self.model, self.data, self._mujoco.mjtStage.mjSTAGE_VEL, 1)
        for substep in range(int(self._env.control_timestep / self._env.model_timestep)):
            self._mujoco.mj_forward(self.model, self.data)
            if substep == 0:
                self._robot.control(action, policy_step=True)
            else:
                self._mujoco.mj_forwardSkip(*solve_again)
                self._held_goal.apply(action[-1:])
            self._mujoco.mj_step2(self.model, self.data)
        self._env._post_process()
        return bool(self._env._check_success())

    @property
    def state(self) -> np.ndarray:
        """(1 + nq + nv,) float64: time [s], positions and velocities, as LIBERO's HDF5 files keep it."""
        return self._control.get_sim_state()

    @property
    def model_xml(self) -> str:
        """The model, with fixtures where this episode has them, as LIBERO's HDF5 files keep it."""
        root = ElementTree.fromstring(self._xml)
        for fixture in self._env.fixtures:
            body = root.find(f".//body[@name='{fixture.root_body}']")
            assert body is not None
            placed = self.model.body(fixture.root_body)
            body.attrib |= {"pos": " ".join(map(str, placed.pos)), "quat": " ".join(map(str, placed.quat))}
        return ElementTree.tostring(root, encoding="unicode") if self._env.fixtures else self._xml

    @property
    def hand_position(self) -> np.ndarray:
        """(3,) float64, the point between the fingertips [m], in the world's frame: robosuite's `robot0_eef_pos`."""
        return self.data.site_xpos[self._robot.eef_site_id].copy()

    @property
    def hand_rotation(self) -> np.ndarray:
        """(3, 3) float64, the frame of that point in the world's."""
        return self.data.site_xmat[self._robot.eef_site_id].reshape(3, 3).copy()

    @property
    def hand_quaternion(self) -> np.ndarray:
        """(4,) float64 (x, y, z, w), the hand's orientation: robosuite's `robot0_eef_quat`."""
        return self.data.body(self._robot.robot_model.eef_name).xquat[[1, 2, 3, 0]]

    @property
    def hand_axis_angle(self) -> np.ndarray:
        """(3,) float64 [rad], the hand's orientation as LIBERO's HDF5 files keep it."""
        *axis, w = self.hand_quaternion
        sine = np.sqrt(max(1 - w * w, 1e-12))
        return np.array(axis) * (2 * np.arccos(np.clip(w, -1, 1)) / sine)

    @property
    def gripper_opening(self) -> float:
        """Distance between the fingers [m], 0 when closed and 0.08 when wide open."""
        left, right = self.data.qpos[self.finger_indexes]
        return float(left - right)

    def object_pose(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the position (3,) [m] and quaternion (4,) (w, x, y, z) of an object or fixture, in the world's frame.

        Raises:
            ValueError: for an unknown name.
        """
        if name not in self._env.obj_body_id:
            raise ValueError(f"no object {name!r} in {self.task}; choose from {', '.join(self._env.obj_body_id)}")
        body = self._env.obj_body_id[name]
        return self.data.xpos[body].copy(), self.data.xquat[body].copy()


@contextlib.contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """LIBERO draws from numpy's global generator; others who use it notice nothing."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def _make_control_environment(suite: str, task: str, assets: str | None) -> Any:
    """LIBERO's environment without cameras; the first seed is taken whose placement LIBERO finds possible."""
    problem, environments = libero_suites.problem_file(suite, task), import_environments(locate_assets(assets))
    impossible = importlib.import_module("robosuite.utils.errors").RandomizationError
    for seed in range(_MAX_DRAWS):
        with _numpy_seeded(seed), _missing_assets_explained(suite), contextlib.suppress(impossible):
            return environments.env_wrapper.ControlEnv(
                str(problem), use_camera_obs=False, has_offscreen_renderer=False, hard_reset=False, ignore_done=True
            )
    raise ValueError(
        f"LIBERO found none of {_MAX_DRAWS} placements of {task} possible, drawn from seeds 0 to {_MAX_DRAWS - 1}; its "
        f"objects need more room than {problem} and the assets leave them"
    )


@contextlib.contextmanager
def _missing_assets_explained(suite: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, ValueError) as error:  # MuJoCo's own complaints are ValueErrors
        missing = re.search(r"(?:Error opening file|No such file or directory:) '([^']+)'", str(error))
        if missing is None:
            raise
        raise LiberoUnavailableError(
            f"{suite} needs {missing[1]}, which is missing; set {ASSETS_VARIABLE} to a folder with all of LIBERO's "
            f"assets, or: {DOWNLOAD_COMMAND}"
        ) from error
