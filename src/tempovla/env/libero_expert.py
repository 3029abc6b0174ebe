"""A scripted expert for LIBERO-Object: takes an object from the floor and drops it into the basket.

It moves the hand by the same actions as a policy, and decides anew at every step from where things are: pushed aside,
it comes back. The hand keeps pointing down and never turns, as all ten objects offer it a side that fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tempovla.env.libero_simulation import Simulation
from tempovla.env.libero_suites import check_suite

SUITE = "libero_object"

_ACTION_DIMS = 7
_METRES_PER_ACTION, _RADIANS_PER_ACTION = 0.05, 0.5
_GAIN, _MAX_SPEED, _MAX_TURN = 1.5, 0.8, 0.3  # per step; in units of the action
_OPEN, _CLOSE = -1.0, 1.0
_POINTING_DOWN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])  # fingers open along the world's y

# The Panda's hand around the point between its fingertips [m].
_PALM_ABOVE = 0.024
_TIPS_BELOW = 0.005
_FINGER_HALF_LENGTH = 0.009
_HAND_BACK, _HAND_FRONT, _HAND_HALF_WIDTH = 0.030, 0.039, 0.105

_PALM_CLEARANCE, _FLOOR_CLEARANCE = 0.003, 0.004
_HOVER_CLEARANCE, _RIM_CLEARANCE = 0.03, 0.02
_NEIGHBOUR_CLEARANCE, _MAX_SIDESTEP = 0.01, 0.012
_DEPTH_BELOW_RIM = 0.02  # of the object's middle, where it is let go
_NEAR, _FAR = 0.008, 0.03  # of the goal: the hand is low when nearer, high when farther, and between in between
_GRASP_RADIUS, _GRASP_HEIGHT = 0.015, 0.01
_RELEASE_RADIUS, _RELEASE_HEIGHT = 0.02, 0.01
_LIFT_BEFORE_MOVING = 0.07  # below the carrying height, the hand rises and does nothing else
_FINGERS_EMPTY, _OBJECT_LOST = 0.005, 0.08
_MIN_CLOSING_STEPS, _MAX_CLOSING_STEPS, _FINGERS_AT_REST = 5, 15, 0.0005


def check_expert(suite: str) -> None:
    """Raise a ValueError unless there is an expert for the suite's tasks."""
    check_suite(suite)
    if suite != SUITE:
        raise ValueError(f"suite: no scripted expert for {suite}, only for {SUITE}")


@dataclass(frozen=True)
class Box:
    """A box along the world's axes around an object's collision shapes; both corners (3,) float64 [m]."""

    low: np.ndarray
    high: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        """Its centre, (3,) [m]."""
        return (self.low + self.high) / 2


class PickAndPlaceExpert:
    """Plays the present episode of a task: reach, grasp, carry, release.

    Args:
        simulation: at the beginning of an episode.

    Raises:
        ValueError: for a suite other than LIBERO-Object.
    """

    def __init__(self, simulation: Simulation) -> None:
        check_expert(simulation.suite)
        self._simulation = simulation
        self._target, self._basket = simulation.objects_of_interest
        self._shapes = {name: _collision_shapes(simulation, name) for name in simulation.object_names}
        self._neighbours = [name for name in self._shapes if name not in (self._target, self._basket)]
        self._phase = "reach"
        self._held_at = np.zeros(3)
        self._closing_steps = 0
        self._opening = 0.0
        self._hanging = 0.0

    @property
    def phase(self) -> str:
        """reach, grasp, carry or release."""
        return self._phase

    def act(self) -> np.ndarray:
        """Return the action that it takes here, (7,) float32 in [-1, 1]; called once a control step."""
        self._advance_phase()
        if self._phase == "reach":
            return self._move_to(self._approach(), _OPEN)
        if self._phase == "carry":
            return self._move_to(self._transport(), _CLOSE)
        return self._move_to(self._held_at, _CLOSE if self._phase == "grasp" else _OPEN)

    def _advance_phase(self) -> None:
        hand = self._simulation.hand_position
        if self._phase == "carry" and self._has_lost():
            self._phase = "reach"
        if self._phase == "reach":
            goal = self._grasp_point()
            if _flat_distance(goal, hand) < _GRASP_RADIUS and abs(goal[2] - hand[2]) < _GRASP_HEIGHT:
                self._phase, self._closing_steps = "grasp", 0
                self._held_at = np.array([hand[0], hand[1], goal[2]])
        elif self._phase == "grasp":
            self._closing_steps += 1
            opening, before = self._simulation.gripper_opening, self._opening
            at_rest = self._closing_steps >= _MIN_CLOSING_STEPS and abs(opening - before) < _FINGERS_AT_REST
            if at_rest or self._closing_steps >= _MAX_CLOSING_STEPS:
                self._phase = "carry"
                self._hanging = hand[2] - self._box(self._target).low[2]
        elif self._phase == "carry":
            release = self._release_height()
            near = _flat_distance(self._box(self._basket).middle, hand) < _RELEASE_RADIUS
            if near and hand[2] < release + _RELEASE_HEIGHT:
                self._phase, self._held_at = "release", hand
        self._opening = self._simulation.gripper_opening

    def _grasp_point(self) -> np.ndarray:
        """Where to close the fingers: as deep as the palm allows, off the middle where a neighbour is in the way."""
        box = self._box(self._target)
        point = box.middle
        point[2] = max(box.high[2] - _PALM_ABOVE + _PALM_CLEARANCE, box.low[2] + _TIPS_BELOW + _FLOOR_CLEARANCE)
        room = min(_MAX_SIDESTEP, max(0.0, (box.high[0] - box.low[0]) / 2 - 1.5 * _FINGER_HALF_LENGTH))
        sidestep = 0.0
        for name in self._neighbours:
            other = self._box(name)
            beside = other.low[1] < point[1] + _HAND_HALF_WIDTH and other.high[1] > point[1] - _HAND_HALF_WIDTH
            if not beside or other.high[2] < point[2] + _PALM_ABOVE:
                continue
            if other.middle[0] > point[0]:
                gap = other.low[0] - (point[0] + _HAND_FRONT)
                sidestep = min(sidestep, gap - _NEIGHBOUR_CLEARANCE)
            else:
                gap = (point[0] - _HAND_BACK) - other.high[0]
                sidestep = max(sidestep, _NEIGHBOUR_CLEARANCE - gap)
        point[0] += np.clip(sidestep, -room, room)
        return point

    def _approach(self) -> np.ndarray:
        """The next place on the way to the object: above everything at first, down only when over the grasp."""
        point, hand = self._grasp_point(), self._simulation.hand_position
        tops = [self._box(name).high[2] for name in (self._target, *self._neighbours)]
        hover = max(tops) + _HOVER_CLEARANCE
        point[2] += (hover - point[2]) * _far_share(_flat_distance(point, hand))
        return point

    def _transport(self) -> np.ndarray:
        """The next place on the way to the basket: up first, over the rim, down only when over the middle."""
        basket, hand = self._box(self._basket), self._simulation.hand_position
        point, distance = basket.middle, _flat_distance(basket.middle, hand)
        carrying = basket.high[2] + _RIM_CLEARANCE + self._hanging
        release = self._release_height()
        point[2] = release + (carrying - release) * _far_share(distance)
        if distance > _HAND_HALF_WIDTH:
            lifted = _smooth(1 - (carrying - hand[2]) / _LIFT_BEFORE_MOVING)
            point[:2] = hand[:2] + lifted * (point - hand)[:2]
        return point

    def _release_height(self) -> float:
        """The hand's height with the object's middle below the rim, if the palm can stay above it."""
        middle_below = self._simulation.hand_position[2] - self._box(self._target).middle[2]
        return self._box(self._basket).high[2] + max(0.0, middle_below - _DEPTH_BELOW_RIM)

    def _has_lost(self) -> bool:
        strayed = self._box(self._target).middle - self._simulation.hand_position
        return self._simulation.gripper_opening < _FINGERS_EMPTY or bool(np.abs(strayed).max() > _OBJECT_LOST)

    def _move_to(self, point: np.ndarray, gripper: float) -> np.ndarray:
        action = np.zeros(_ACTION_DIMS, np.float32)
        velocity = _GAIN * (point - self._simulation.hand_position) / _METRES_PER_ACTION
        velocity[:2] *= min(1.0, _MAX_SPEED / max(float(np.linalg.norm(velocity[:2])), _MAX_SPEED))
        velocity[2] = np.clip(velocity[2], -_MAX_SPEED, _MAX_SPEED)
        action[:3] = velocity
        action[3:6] = np.clip(self._tilt() / _RADIANS_PER_ACTION, -_MAX_TURN, _MAX_TURN)
        action[6] = gripper
        return action

    def _tilt(self) -> np.ndarray:
        """The rotation vector that makes the hand point down again, (3,) [rad], right for small ones."""
        turn = _POINTING_DOWN @ self._simulation.hand_rotation.T
        return np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / 2

    def _box(self, name: str) -> Box:
        shapes, data = self._shapes[name], self._simulation.data
        rotations = data.geom_xmat[shapes.geoms].reshape(-1, 3, 3)
        middles = data.geom_xpos[shapes.geoms] + np.einsum("gij,gj->gi", rotations, shapes.middles)
        reaches = np.einsum("gij,gj->gi", np.abs(rotations), shapes.half_sizes)
        return Box((middles - reaches).min(axis=0), (middles + reaches).max(axis=0))


@dataclass(frozen=True)
class _Shapes:
    """An object's G collision shapes, each as the box around it in its own frame: middles and half sizes (G, 3) [m]."""

    geoms: np.ndarray
    middles: np.ndarray
    half_sizes: np.ndarray


def _collision_shapes(simulation: Simulation, name: str) -> _Shapes:
    model = simulation.model
    body = model.body(f"{name}_main").id
    geoms = np.flatnonzero((model.geom_bodyid == body) & (model.geom_contype != 0))
    return _Shapes(geoms, model.geom_aabb[geoms, :3].copy(), model.geom_aabb[geoms, 3:].copy())


def _flat_distance(a: np.ndarray, b: np.ndarray) -> float:
    """How far apart two points are as seen from above [m]."""
    return float(np.hypot(a[0] - b[0], a[1] - b[1]))


def _far_share(distance: float) -> float:
    """0 near a goal, 1 far from it."""
    return _smooth((distance - _NEAR) / (_FAR - _NEAR))


def _smooth(x: float) -> float:
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)
