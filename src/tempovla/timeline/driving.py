"""The streams of a car: its sensors, its motion and what its navigator says.

The ego frame is that of nuScenes: its origin lies on the ground below the middle of the rear axle, x points forward, y
to the left and z up. Absent points of a reading, in arrays, are rows of NaN behind the present ones.

Nothing here imports torch: simulator workers load this module.
"""

from __future__ import annotations

from typing import Literal

from tempovla.timeline.keys import IMAGE_KEY_PREFIX, POINTS_KEY_PREFIX

CONTROL_RATE_HZ = 2.0
"""Rate of decisions, which is that of nuScenes' key frames [Hz]."""

SURROUND_CAMERAS = ("front", "front_right", "back_right", "back", "back_left", "front_left")
"""Names of the six cameras, clockwise from the front; nuScenes calls them CAM_FRONT and so on."""
CAMERA_KEYS = tuple(IMAGE_KEY_PREFIX + camera for camera in SURROUND_CAMERAS)

LIDAR_KEY = POINTS_KEY_PREFIX + "lidar"
LIDAR_NAMES = ("x [m]", "y [m]", "z [m]", "intensity [0, 255]")
"""Points in the ego frame of the control step."""
RADAR_KEY = POINTS_KEY_PREFIX + "radar"
RADAR_NAMES = ("x [m]", "y [m]", "vx [m/s]", "vy [m/s]", "rcs [dBsm]")
"""Targets of all radars in the ego frame of the control step; the velocities are those over ground."""
IMU_KEY = POINTS_KEY_PREFIX + "imu"
IMU_NAMES = ("time [s]", "ax [m/s2]", "ay [m/s2]", "az [m/s2]", "wx [rad/s]", "wy [rad/s]", "wz [rad/s]")
"""Measurements since the control step before, oldest first; their times are relative to the control step, at most 0."""

STATE_NAMES = ("speed [m/s]", "acceleration [m/s2]", "yaw rate [rad/s]", "steering angle [rad]")
"""What the car knows of itself: `observation.state`; the steering angle is that of the front wheels."""
ACTION_NAMES = ("forward [m]", "left [m]", "turn [rad]")
"""How the car moves until the next control step, in the ego frame of this one: `action`."""

Command = Literal["follow", "left", "right", "straight"]
COMMANDS: dict[Command, str] = {
    "follow": "Follow the road.",
    "left": "Turn left at the next junction.",
    "right": "Turn right at the next junction.",
    "straight": "Go straight at the next junction.",
}
"""What the navigator says, which is the instruction of a control step."""
WRONG_COMMANDS: dict[Command, Command] = {
    "follow": "follow",
    "left": "right",
    "right": "left",
    "straight": "left",
}
"""What a navigator that is wrong says instead."""
