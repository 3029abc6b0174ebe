"""How the car moves in a scene: its poses, its own measurements and its actions at each control step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tempovla.data.nuscenes.can_bus import CanBus
from tempovla.data.nuscenes.layout import STEERING_RATIO, WHEEL_BASE_M
from tempovla.data.nuscenes.poses import Array, interpolate, inverse, planar
from tempovla.data.nuscenes.scenes import US, Scene, SceneTable
from tempovla.timeline.clock import latest_at
from tempovla.timeline.driving import CONTROL_RATE_HZ

CAN_TOLERANCE_S = 0.1
"""How old a message may be; they come at 50 to 100 Hz [s]."""
LARGEST_DEVIATION = 0.25
"""An action that takes longer or shorter than the control period by a larger share is no action of that period."""
SLOWEST_M_S = 0.5
"""Below it the steering angle does not follow from turning; it is 0 then [m/s]."""

_POSE_FIELDS = {"vel": 3, "accel": 3, "rotation_rate": 3}
_DENSE_HZ = 8.0


@dataclass(frozen=True)
class Motion:
    """Of one scene at its L control steps.

    Attributes:
        steps_us: (L,) times [us].
        poses: (L, 4, 4) from the ego frame to the global one.
        relative: (L, 3) x [m], y [m] and yaw [rad] in the ego frame of the first step.
        action: (L, 3) motion until the next step.
        action_valid: (L,).
        state: (L, 4), see `timeline.driving.STATE_NAMES`.
        state_valid: (L,).
    """

    steps_us: NDArray[np.int64]
    poses: Array
    relative: Array
    action: Array
    action_valid: NDArray[np.bool_]
    state: Array
    state_valid: NDArray[np.bool_]


def read_motion(table: SceneTable, scene: Scene, can: CanBus, rate_hz: float) -> Motion:
    """Return the motion of a scene.

    The steps are its key frames; at another rate than theirs they are equally far apart, from the first key frame to
    the last one, and the poses in between are interpolated.

    Args:
        table: where the scene is from.
        scene: the scene.
        can: its messages.
        rate_hz: control rate [Hz].

    Raises:
        DatasetError: if a CAN message is damaged.
    """
    steps_us = scene.times_us
    if rate_hz != CONTROL_RATE_HZ:
        last = int((steps_us[-1] - steps_us[0]) * US * rate_hz + 1e-6)
        steps_us = steps_us[0] + np.rint(np.arange(last + 1) / (rate_hz * US)).astype(np.int64)
    times_us, moved, turned = _ego_timeline(table, scene)
    poses = interpolate(times_us, moved, turned, steps_us)
    origin = inverse(poses[0])
    motions = planar(inverse(poses[:-1]) @ poses[1:])
    period_s = 1.0 / rate_hz
    spans_s = np.diff(steps_us) * US
    whole = np.abs(spans_s - period_s) <= LARGEST_DEVIATION * period_s
    perturbed = can.per_key_frame("perturbed", len(scene.times_us))
    if perturbed is not None:
        marks = np.array([bool(mark) for mark in perturbed])
        whole = whole & ~marks[np.searchsorted(scene.times_us, steps_us[:-1], side="right") - 1]
    state, fresh = _state_from_can(can, scene, steps_us) or _state_from_poses(
        times_us, moved, turned, steps_us, period_s
    )
    return Motion(
        steps_us,
        poses,
        planar(origin @ poses),
        np.concatenate([motions, np.zeros((1, 3))]),
        np.append(whole, False),
        state,
        fresh,
    )


def _ego_timeline(table: SceneTable, scene: Scene) -> tuple[NDArray[np.int64], Array, Array]:
    """Times (N,), translations (N, 3) and quaternions (N, 4) of all that is known of the car's poses in a scene."""
    poses = table.tables["ego_pose"]
    readings = np.concatenate([channel.rows for channel in scene.channels.values()])
    rows = table.tables["sample_data"]["ego_pose_token"][readings]
    times_us, first = np.unique(poses["timestamp"][rows], return_index=True)
    return times_us, poses["translation"][rows[first]], poses["rotation"][rows[first]]


def _state_from_can(can: CanBus, scene: Scene, steps_us: NDArray[np.int64]) -> tuple[Array, NDArray[np.bool_]] | None:
    """State (L, 4) and validity (L,) from the newest messages; None where the scene has none of its motion."""
    found = can.rows("pose", _POSE_FIELDS)
    if found is None:
        return None
    values, valid = _newest(*found, scene, steps_us)
    speed, acceleration, yaw_rate = values[:, 0], values[:, 3], values[:, 8]
    wheel = can.rows("steeranglefeedback", {"value": 0})
    if wheel is None:
        steering = steering_angle(yaw_rate, speed)
    else:
        angle, fresh = _newest(*wheel, scene, steps_us)
        steering, valid = angle[:, 0] / STEERING_RATIO, valid & fresh
    return np.stack([speed, acceleration, yaw_rate, steering], axis=1), valid


def _newest(
    times_us: NDArray[np.int64], values: Array, scene: Scene, steps_us: NDArray[np.int64]
) -> tuple[Array, NDArray[np.bool_]]:
    rows, valid = latest_at(scene.seconds(times_us), scene.seconds(steps_us), CAN_TOLERANCE_S)
    return values[rows], valid


def _state_from_poses(
    times_us: NDArray[np.int64], moved: Array, turned: Array, steps_us: NDArray[np.int64], period_s: float
) -> tuple[Array, NDArray[np.bool_]]:
    """State (L, 4) and validity (L,) from two motions that end at each step, so that the future does not matter.

    Steps without so much past, which the first ones are, are not valid.
    """
    dense = len(times_us) > 1 and np.median(np.diff(times_us)) * US < 1 / _DENSE_HZ
    span_s = period_s / 2 if dense else period_s
    span_us = round(span_s / US)
    now, before, earlier = (interpolate(times_us, moved, turned, steps_us - back) for back in (0, span_us, 2 * span_us))
    last, first = planar(inverse(before) @ now), planar(inverse(earlier) @ before)
    speed, yaw_rate = last[:, 0] / span_s, last[:, 2] / span_s
    acceleration = (speed - first[:, 0] / span_s) / span_s
    state = np.stack([speed, acceleration, yaw_rate, steering_angle(yaw_rate, speed)], axis=1)
    slack_us = 0.1 * span_us  # for key frames that are not equally far apart
    return state, steps_us - 2 * span_us >= times_us[0] - slack_us


def steering_angle(yaw_rate: Array, speed: Array) -> Array:
    """Return angles (L,) of the front wheels at which a car without slip turns so [rad].

    Args:
        yaw_rate: (L,) [rad/s].
        speed: (L,) [m/s].
    """
    moving = np.abs(speed) >= SLOWEST_M_S
    return np.where(moving, np.arctan(WHEEL_BASE_M * yaw_rate / np.where(moving, speed, 1.0)), 0.0)
