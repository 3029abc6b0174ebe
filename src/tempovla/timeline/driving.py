"""The streams of a car: its sensors, its motion and what its navigator says.

The ego frame is that of nuScenes: its origin lies on the ground below the middle of the rear axle, x points forward, y
to the left and z up. Absent points of a reading, in arrays, are rows of NaN behind the present ones.

Nothing here imports torch: simulator workers load this module.
"""

from __future__ import annotations

from typing import Literal

from tempovla.timeline.keys import IMAGE_KEY_PREFIX, OBSERVATION_PREFIX, POINTS_KEY_PREFIX

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

RoadUser = Literal["vehicle", "cycle", "pedestrian", "animal"]
ROAD_USERS: tuple[RoadUser, ...] = ("vehicle", "cycle", "pedestrian", "animal")
"""Kinds of road users; their numbers are their places here."""
BOXES_KEY = POINTS_KEY_PREFIX + "boxes"
BOX_NAMES = (
    "x [m]",
    "y [m]",
    "yaw [rad]",
    "length [m]",
    "width [m]",
    "vx [m/s]",
    "vy [m/s]",
    "velocity is known [0, 1]",
    "kind",
)
"""The annotated road users, in the ego frame of the control step: centre, heading, size, velocity over ground, which is
0 where it is not known, and number of the kind. Datasets have them, to learn from; no policy sees them when it acts."""

LightState = Literal["none", "red", "yellow", "green"]
LIGHT_STATES: tuple[LightState, ...] = ("none", "red", "yellow", "green")
LIGHT_RANGE_M = 40.0
"""A traffic light counts from this distance to its stop line on [m]."""
LIGHT_KEY = OBSERVATION_PREFIX + "light"
LIGHT_NAMES = ("state",)
"""The next traffic light on the route, as a number of `LIGHT_STATES`; none if it is further away than `LIGHT_RANGE_M`.
Datasets may have it, to learn from; no policy sees it when it acts."""

HEADS_KEY = POINTS_KEY_PREFIX + "light_heads"
HEAD_NAMES = ("x [m]", "y [m]", "z [m]")
"""The heads that show `LIGHT_KEY`, in the ego frame of the control step; none where that is none."""
MOST_HEADS = 4

ROAD_KEY = POINTS_KEY_PREFIX + "road"
ROAD_NAMES = ("x [m]", "y [m]")
"""Where one can drive, in the ego frame of the control step: the centres of drivable squares of a lattice, whose sides
are `ROAD_SQUARE_M` long. Datasets with a map have it, to learn from; no policy sees it when it acts."""
ROAD_SQUARE_M = 1.0
ROAD_X_M, ROAD_Y_M = (-32, 64), (-48, 48)
"""From where to where the lattice reaches, to the front and to the left [m]."""
ROAD_SQUARES = (ROAD_X_M[1] - ROAD_X_M[0]) * (ROAD_Y_M[1] - ROAD_Y_M[0])

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

FIGURES: dict[str, str] = {
    "completion": "share of the route that was driven, 0 to 1",
    "collision": "1 if the car touched anybody or anything, else 0",
    "collision_pedestrian": "1 if it touched a pedestrian or a cyclist, else 0",
    "collision_vehicle": "1 if it touched another vehicle that takes part in traffic, else 0",
    "collision_static": "1 if it touched a parked vehicle, a building or another thing that stands, else 0",
    "at_fault": "1 if the collision was the car's fault, else 0",
    "red_lights": "how many red lights it crossed",
    "off_road": "1 if it left the drivable surface for good, which ends the episode, else 0",
    "off_route": "1 if it was more than 30 m from its route, which ends the episode, else 0",
    "drivable": "1 if all of its corners were on the drivable surface all the time, else 0",
    "timeout": "1 if the time was up before the end of the route, else 0",
    "distance_m": "how far it drove [m]",
    "progress": "distance along the route per that of the expert's nominal speed in the same time, 0 to 1",
    "ttc_violations": "control steps in which the time to a collision with somebody ahead was below 1 s",
    "max_acceleration": "largest longitudinal acceleration [m/s2]",
    "max_deceleration": "largest longitudinal deceleration, not negative [m/s2]",
    "max_lateral_acceleration": "largest absolute lateral acceleration [m/s2]",
    "max_jerk": "largest absolute jerk [m/s3]",
    "max_longitudinal_jerk": "largest absolute longitudinal jerk [m/s3]",
    "max_yaw_rate": "largest absolute yaw rate [rad/s]",
    "max_yaw_acceleration": "largest absolute yaw acceleration [rad/s2]",
}
"""What a driving simulator measures of an episode until the present moment (`Scored.figures`), by name; all of them are
finite numbers. `env/driving_scores.py` makes the scores of it."""

FAILURES = ("collision_pedestrian", "collision_vehicle", "collision_static", "off_road", "off_route", "timeout")
"""Those of the figures that say why an episode was a failure."""

SCORES = ("driving_score", "pdm_score", "comfort")
"""What `env/driving_scores.py` makes of the figures, by name."""
FIGURE_UNITS: dict[str, str] = {
    **dict.fromkeys(("driving_score", "pdm_score", "completion", "progress"), "0 to 1"),
    **dict.fromkeys(("comfort", *(name for name, told in FIGURES.items() if told.startswith("1 if "))), "share"),
    "red_lights": "count",
    "ttc_violations": "steps",
    **{name: told[told.rindex("[") + 1 : -1] for name, told in FIGURES.items() if told.endswith("]")},
}
"""Units of the means of figures and scores over episodes, by name. What is 0 or 1 in an episode has a share of them."""
