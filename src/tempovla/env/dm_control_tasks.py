"""The benchmarking tasks of the DeepMind Control Suite (Tassa et al., 2018) by the short names that papers use."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

Parts = tuple[tuple[str, tuple[int, ...]], ...]

STEPS = 1000
"""Simulator steps after which the suite ends the episodes of all these tasks."""

SHORT_DOMAINS = {"cup": "ball_in_cup", "pointmass": "point_mass"}
"""Domains whose names here are not the suite's."""


@dataclass(frozen=True)
class DmControlTask:
    """One task of the suite.

    Attributes:
        instruction: the task in words.
        observations: name and shape of each observation, in the suite's order; their entries make up the state.
        action_dim: number of actuators.
        step_s: duration of a simulator step [s].
        cameras: names of the model's cameras, by id.
    """

    instruction: str
    observations: Parts
    action_dim: int
    step_s: float
    cameras: tuple[str, ...]

    @property
    def state_names(self) -> tuple[str, ...]:
        """The name of every number of the state: `velocity_0`, or `upright` where an observation is one number."""
        sizes = [(name, prod(shape), shape) for name, shape in self.observations]
        return tuple(f"{name}_{i}" if shape else name for name, size, shape in sizes for i in range(size))


def suite_name(task: str) -> tuple[str, str]:
    """Return the suite's names of a task's domain and of the task: `cup-catch` is ("ball_in_cup", "catch")."""
    domain, _, rest = task.partition("-")
    return SHORT_DOMAINS.get(domain, domain), rest.replace("-", "_")


def _parts(**sizes: int | tuple[int, ...]) -> Parts:
    """Observations by name; a size of 0 is a single number without a dimension."""
    return tuple((name, size if isinstance(size, tuple) else (size,) if size else ()) for name, size in sizes.items())


_ACROBOT = (_parts(orientations=4, velocity=2), 1, 0.01, ("fixed", "lookat"))
_CARTPOLE = (_parts(position=3, velocity=2), 1, 0.01, ("fixed", "lookatcart"))
_FINGER_CAMERAS = ("cam0", "cam1")
_FINGER_SPIN = (_parts(position=4, velocity=3, touch=2), 2, 0.02, _FINGER_CAMERAS)
_FINGER_TURN = (
    *(_parts(position=4, velocity=3, touch=2, target_position=2, dist_to_target=0), 2, 0.02),
    _FINGER_CAMERAS,
)
_FISH_CAMERAS = ("tracking_top", "tracking_x", "tracking_y", "fixed_top", "eye")
_HOPPER = (_parts(position=6, velocity=7, touch=2), 4, 0.02, ("cam0", "back"))
_HUMANOID = (
    _parts(joint_angles=21, head_height=0, extremities=12, torso_vertical=3, com_velocity=3, velocity=27),
    *(21, 0.025, ("back", "side", "egocentric")),
)
_MANIPULATOR = (
    _parts(arm_pos=(8, 2), arm_vel=8, touch=5, hand_pos=4, object_pos=4, object_vel=3, target_pos=4),
    *(5, 0.01, ("fixed", "hand")),
)
_REACHER = (_parts(position=2, to_target=2, velocity=2), 2, 0.02, ("fixed", "hand"))
_SWIMMER_CAMERAS = ("tracking1", "tracking2", "eyes")
_WALKER = (_parts(orientations=14, height=0, velocity=9), 6, 0.025, ("side", "back"))

DM_CONTROL_TASKS: dict[str, DmControlTask] = {
    "acrobot-swingup": DmControlTask("swing the two links up and balance them", *_ACROBOT),
    "acrobot-swingup-sparse": DmControlTask("swing the two links up to the target, which alone is rewarded", *_ACROBOT),
    "cartpole-balance": DmControlTask("keep the pole upright", *_CARTPOLE),
    "cartpole-balance-sparse": DmControlTask("keep the pole upright, which alone is rewarded", *_CARTPOLE),
    "cartpole-swingup": DmControlTask("swing the pole up and keep it upright", *_CARTPOLE),
    "cartpole-swingup-sparse": DmControlTask("swing the pole up, which alone is rewarded", *_CARTPOLE),
    "cheetah-run": DmControlTask(
        *("run forward on two legs", _parts(position=8, velocity=9), 6, 0.01, ("side", "back"))
    ),
    "cup-catch": DmControlTask(
        *("catch the ball in the cup", _parts(position=4, velocity=4), 2, 0.02, ("cam0", "cam1"))
    ),
    "finger-spin": DmControlTask("spin the body with the finger", *_FINGER_SPIN),
    "finger-turn-easy": DmControlTask("turn the tip of the body to the large target", *_FINGER_TURN),
    "finger-turn-hard": DmControlTask("turn the tip of the body to the small target", *_FINGER_TURN),
    "fish-swim": DmControlTask(
        *("swim to the target", _parts(joint_angles=7, upright=0, target=3, velocity=13), 5, 0.04, _FISH_CAMERAS)
    ),
    "fish-upright": DmControlTask(
        *("turn upright", _parts(joint_angles=7, upright=0, velocity=13), 5, 0.04, _FISH_CAMERAS)
    ),
    "hopper-hop": DmControlTask("hop forward on one leg", *_HOPPER),
    "hopper-stand": DmControlTask("stand up on one leg", *_HOPPER),
    "humanoid-run": DmControlTask("run as a humanoid", *_HUMANOID),
    "humanoid-stand": DmControlTask("stand up as a humanoid", *_HUMANOID),
    "humanoid-walk": DmControlTask("walk as a humanoid", *_HUMANOID),
    "manipulator-bring-ball": DmControlTask("bring the ball to the target", *_MANIPULATOR),
    "pendulum-swingup": DmControlTask(
        *("swing the pendulum up and balance it", _parts(orientation=2, velocity=1), 1, 0.02, ("fixed", "lookat"))
    ),
    "pointmass-easy": DmControlTask(
        *("move the point to the target", _parts(position=2, velocity=2), 2, 0.02, ("fixed", "cam0"))
    ),
    "reacher-easy": DmControlTask("reach the large target with the tip of the arm", *_REACHER),
    "reacher-hard": DmControlTask("reach the small target with the tip of the arm", *_REACHER),
    "swimmer-swimmer6": DmControlTask(
        *("swim to the target with six links", _parts(joints=5, to_target=2, body_velocities=18)),
        *(5, 0.03, _SWIMMER_CAMERAS),
    ),
    "swimmer-swimmer15": DmControlTask(
        *("swim to the target with fifteen links", _parts(joints=14, to_target=2, body_velocities=45)),
        *(14, 0.03, _SWIMMER_CAMERAS),
    ),
    "walker-run": DmControlTask("run on two legs", *_WALKER),
    "walker-stand": DmControlTask("stand up on two legs", *_WALKER),
    "walker-walk": DmControlTask("walk on two legs", *_WALKER),
}
"""The tasks by name, in alphabetical order of their domains."""
