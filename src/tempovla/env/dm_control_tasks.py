"""The benchmarking tasks of the DeepMind Control Suite (Tassa et al., 2018) by the short names that papers use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

Parts = tuple[tuple[str, tuple[int, ...]], ...]

STEPS = 1000
"""Simulator steps after which the suite ends the episodes of all these tasks."""

SHORT_DOMAINS = {"cup": "ball_in_cup", "pointmass": "point_mass"}
"""Domains whose names here are not the suite's."""


@dataclass(frozen=True)
class DmControlBody:
    """A model of the suite with what a task observes of it.

    Attributes:
        observations: name and shape of each observation, in the suite's order; their entries make up the state.
        action_dim: number of actuators.
        step_s: duration of a simulator step [s].
        cameras: names of the model's cameras, by id.
    """

    observations: Parts
    action_dim: int
    step_s: float
    cameras: tuple[str, ...]

    @property
    def state_names(self) -> tuple[str, ...]:
        """The name of every number of the state: `velocity_0`, or `upright` where an observation is one number."""
        return tuple(f"{name}_{i}" if shape else name for name, shape in self.observations for i in range(prod(shape)))


@dataclass(frozen=True)
class DmControlTask:
    """One task of the suite: the task in words, and its body."""

    instruction: str
    body: DmControlBody


def suite_name(task: str) -> tuple[str, str]:
    """Return the suite's names of a task's domain and of the task: `cup-catch` is ("ball_in_cup", "catch")."""
    domain, _, rest = task.partition("-")
    return SHORT_DOMAINS.get(domain, domain), rest.replace("-", "_")


def _parts(**sizes: int | tuple[int, ...]) -> Parts:
    """Observations by name; a size of 0 is a single number without a dimension."""
    return tuple((name, size if isinstance(size, tuple) else (size,) if size else ()) for name, size in sizes.items())


_ACROBOT = DmControlBody(_parts(orientations=4, velocity=2), 1, 0.01, ("fixed", "lookat"))
_CARTPOLE = DmControlBody(_parts(position=3, velocity=2), 1, 0.01, ("fixed", "lookatcart"))
_CHEETAH = DmControlBody(_parts(position=8, velocity=9), 6, 0.01, ("side", "back"))
_CUP = DmControlBody(_parts(position=4, velocity=4), 2, 0.02, ("cam0", "cam1"))
_SPUN = DmControlBody(_parts(position=4, velocity=3, touch=2), 2, 0.02, ("cam0", "cam1"))
_TURNED = replace(_SPUN, observations=(*_SPUN.observations, *_parts(target_position=2, dist_to_target=0)))
_FISH = DmControlBody(
    _parts(joint_angles=7, upright=0, velocity=13),
    action_dim=5,
    step_s=0.04,
    cameras=("tracking_top", "tracking_x", "tracking_y", "fixed_top", "eye"),
)
_FISH_WITH_TARGET = replace(_FISH, observations=_parts(joint_angles=7, upright=0, target=3, velocity=13))
_HOPPER = DmControlBody(_parts(position=6, velocity=7, touch=2), 4, 0.02, ("cam0", "back"))
_HUMANOID = DmControlBody(
    _parts(joint_angles=21, head_height=0, extremities=12, torso_vertical=3, com_velocity=3, velocity=27),
    action_dim=21,
    step_s=0.025,
    cameras=("back", "side", "egocentric"),
)
_MANIPULATOR = DmControlBody(
    _parts(arm_pos=(8, 2), arm_vel=8, touch=5, hand_pos=4, object_pos=4, object_vel=3, target_pos=4),
    action_dim=5,
    step_s=0.01,
    cameras=("fixed", "hand"),
)
_PENDULUM = DmControlBody(_parts(orientation=2, velocity=1), 1, 0.02, ("fixed", "lookat"))
_POINT = DmControlBody(_parts(position=2, velocity=2), 2, 0.02, ("fixed", "cam0"))
_REACHER = DmControlBody(_parts(position=2, to_target=2, velocity=2), 2, 0.02, ("fixed", "hand"))
_SWIMMER_CAMERAS = ("tracking1", "tracking2", "eyes")
_SWIMMER_6 = DmControlBody(_parts(joints=5, to_target=2, body_velocities=18), 5, 0.03, _SWIMMER_CAMERAS)
_SWIMMER_15 = DmControlBody(_parts(joints=14, to_target=2, body_velocities=45), 14, 0.03, _SWIMMER_CAMERAS)
_WALKER = DmControlBody(_parts(orientations=14, height=0, velocity=9), 6, 0.025, ("side", "back"))

DM_CONTROL_TASKS: dict[str, DmControlTask] = {
    "acrobot-swingup": DmControlTask("swing the two links up and balance them", _ACROBOT),
    "acrobot-swingup-sparse": DmControlTask("swing the two links up to the target, which alone is rewarded", _ACROBOT),
    "cartpole-balance": DmControlTask("keep the pole upright", _CARTPOLE),
    "cartpole-balance-sparse": DmControlTask("keep the pole upright, which alone is rewarded", _CARTPOLE),
    "cartpole-swingup": DmControlTask("swing the pole up and keep it upright", _CARTPOLE),
    "cartpole-swingup-sparse": DmControlTask("swing the pole up, which alone is rewarded", _CARTPOLE),
    "cheetah-run": DmControlTask("run forward as a cheetah", _CHEETAH),
    "cup-catch": DmControlTask("catch the ball in the cup", _CUP),
    "finger-spin": DmControlTask("spin the body with the finger", _SPUN),
    "finger-turn-easy": DmControlTask("turn the tip of the body to the large target", _TURNED),
    "finger-turn-hard": DmControlTask("turn the tip of the body to the small target", _TURNED),
    "fish-swim": DmControlTask("swim to the target", _FISH_WITH_TARGET),
    "fish-upright": DmControlTask("turn upright", _FISH),
    "hopper-hop": DmControlTask("hop forward on one leg", _HOPPER),
    "hopper-stand": DmControlTask("stand up on one leg", _HOPPER),
    "humanoid-run": DmControlTask("run as a humanoid", _HUMANOID),
    "humanoid-stand": DmControlTask("stand up as a humanoid", _HUMANOID),
    "humanoid-walk": DmControlTask("walk as a humanoid", _HUMANOID),
    "manipulator-bring-ball": DmControlTask("bring the ball to the target", _MANIPULATOR),
    "pendulum-swingup": DmControlTask("swing the pendulum up and balance it", _PENDULUM),
    "pointmass-easy": DmControlTask("move the point to the target", _POINT),
    "reacher-easy": DmControlTask("reach the large target with the tip of the arm", _REACHER),
    "reacher-hard": DmControlTask("reach the small target with the tip of the arm", _REACHER),
    "swimmer-swimmer6": DmControlTask("swim to the target with six links", _SWIMMER_6),
    "swimmer-swimmer15": DmControlTask("swim to the target with fifteen links", _SWIMMER_15),
    "walker-run": DmControlTask("run on two legs", _WALKER),
    "walker-stand": DmControlTask("stand up on two legs", _WALKER),
    "walker-walk": DmControlTask("walk on two legs", _WALKER),
}
"""The tasks by name, in alphabetical order of their domains."""
