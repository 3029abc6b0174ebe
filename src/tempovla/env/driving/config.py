"""Settings of the driving simulator. Nothing here imports torch, SUMO or MuJoCo."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tempovla.env.collect import CollectConfig
from tempovla.env.defaults import SimulatorDefaults
from tempovla.env.driving.weather import WEATHERS
from tempovla.timeline.calibration import CameraCalibration
from tempovla.timeline.driving import (
    ACTION_NAMES,
    COMMANDS,
    CONTROL_RATE_HZ,
    IMU_KEY,
    LIDAR_KEY,
    RADAR_KEY,
    STATE_NAMES,
    SURROUND_CAMERAS,
)
from tempovla.timeline.keys import DEPTH_KEY_PREFIX, IMAGE_KEY_PREFIX
from tempovla.timeline.task import Embodiment

if TYPE_CHECKING:
    from gymnasium.spaces import Box, Dict

    from tempovla.env.driving.environment import DrivingEnv

POINT_SENSORS: dict[str, str] = {"lidar": LIDAR_KEY, "radar": RADAR_KEY, "imu": IMU_KEY}
"""The sensors that measure points, with their streams; each is a field of the config."""
ALL_CAMERAS = "cameras"
"""All six of them, among the sensors that are broken."""
ACTION_BOUNDS = ((0.0, -4.0, -1.2), (12.0, 4.0, 1.2))
"""Lowest and highest forward [m], left [m] and turn [rad] of a control step; the car drives forward only."""


@dataclass(frozen=True)
class DrivingConfig(SimulatorDefaults):
    """The town, its traffic and the car's sensors.

    Attributes:
        task: light and weather: day, night, fog or rain.
        town: `riverside`, meant for training, `hillcrest`, meant to be unseen, `seed-N` for one that is made from a
            number, `Town01` to `Town07` with the package py123d, or the path of an OpenDRIVE map.
        cameras: those that are drawn, of front, front_right, back_right, back, back_left and front_left.
        image_height: of the pictures [px].
        image_width: of the pictures [px].
        supersample: drawn pixels per pixel of a picture, along each side.
        render: whether there are pictures.
        depth: whether the distances in the pictures are observed too.
        lidar: whether the points of the LiDAR are observed.
        radar: whether the targets of the radars are observed.
        imu: whether the measurements of the inertial sensor are observed.
        lidar_azimuths: pulses of each of the LiDAR's 32 rings a turn.
        vehicles: number of moving vehicles in the town.
        pedestrians: number of pedestrians in the town.
        parked: share of the places to park that are taken.
        route_least_m: length of the shortest route [m].
        route_most_m: length of the longest route [m].
        max_steps: control steps of half a second after which an episode is truncated.
        top_speed: that the expert drives where nothing is in its way [m/s].
        terminate_on_success: whether an episode ends where its route ends.
        without: sensors that are broken, as a list of `lidar`, `radar`, `imu`, names of cameras such as `front`, and
            `cameras`, which means all six; their streams are not observed.
        wrong_commands: whether the navigator says another turn than the route takes; `eval --wrong_instruction` sets
            this, too.
        push_rate: share of the control steps at which a burst of one or two pushes begins: the car does not do what it
            is told, but swerves. Experts recover from it, and what was pushed is not for imitation.
        visible_only: whether the expert knows only those road users that the car's sensors can see. What is parked it
            always knows.
        seconds: length of a collected scene [s].
        sweeps: whether collected scenes hold what the cameras, the LiDAR and the radars measure between key frames, ten
            times a second.
    """

    title: ClassVar[str] = "the driving simulator"
    example: ClassVar[str] = "--tasks day,night"
    packages: ClassVar[tuple[str, ...]] = ("eclipse-sumo", "libsumo", "mujoco")
    recorded: ClassVar[tuple[str, ...]] = (
        "town", "image_height", "image_width", "supersample", "lidar_azimuths", "vehicles", "pedestrians", "parked",
        "route_least_m", "route_most_m", "top_speed", "without", "wrong_commands", "push_rate",
        "visible_only",
    )  # fmt: skip
    varied: ClassVar[tuple[str, ...]] = (
        "town", "vehicles", "pedestrians", "parked", "route_least_m", "route_most_m", "top_speed",
        "without", "wrong_commands", "push_rate", "visible_only",
    )  # fmt: skip
    sensors: ClassVar[tuple[str, ...]] = ("depth", "lidar", "radar", "imu")
    demonstrated: ClassVar[Mapping[str, Any]] = {
        "seconds": 20.0, "sweeps": False, "lidar": True, "radar": True, "imu": True,
    }  # fmt: skip

    task: str = "day"
    town: str = "riverside"
    cameras: tuple[str, ...] = SURROUND_CAMERAS
    image_height: int = 112
    image_width: int = 200
    supersample: int = 2
    render: bool = True
    depth: bool = False
    lidar: bool = False
    radar: bool = False
    imu: bool = False
    lidar_azimuths: int = 360
    vehicles: int = 36
    pedestrians: int = 30
    parked: float = 0.5
    route_least_m: float = 250.0
    route_most_m: float = 400.0
    max_steps: int = 180
    top_speed: float = 10.0
    terminate_on_success: bool = True
    without: tuple[str, ...] = ()
    wrong_commands: bool = False
    push_rate: float = 0.0
    visible_only: bool = False
    seconds: float = 20.0
    sweeps: bool = False

    def __post_init__(self) -> None:
        for name in ("image_height", "image_width", "supersample", "lidar_azimuths", "max_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("vehicles", "pedestrians"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative; 0 is none")
        for name in ("parked", "push_rate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}={getattr(self, name)} must be a share from 0 to 1")
        if not 0.0 < self.route_least_m <= self.route_most_m < math.inf:
            raise ValueError(
                f"route_least_m={self.route_least_m} and route_most_m={self.route_most_m} must be lengths in metres, "
                "the first not more than the second"
            )
        if not 1.0 <= self.seconds < math.inf:
            raise ValueError(f"seconds={self.seconds} must be the length of a scene in seconds, at least 1")
        if not 0.0 < self.top_speed < math.inf:
            raise ValueError(f"top_speed={self.top_speed} must be a speed in m/s, greater than 0")
        for camera in self.cameras:
            if camera not in SURROUND_CAMERAS:
                raise ValueError(f"cameras: no camera {camera!r}; choose from {', '.join(SURROUND_CAMERAS)}")
        known = (ALL_CAMERAS, *SURROUND_CAMERAS, *POINT_SENSORS)
        for sensor in self.without:
            if sensor not in known:
                raise ValueError(f"without: no sensor {sensor!r}; choose from {', '.join(known)}")

    @property
    def embodiment(self) -> Embodiment:
        """The car: its state, its actions and how its cameras see."""
        return Embodiment(
            "nuscenes-car",
            len(STATE_NAMES),
            len(ACTION_NAMES),
            CONTROL_RATE_HZ,
            STATE_NAMES,
            ACTION_NAMES,
            self.calibrations(),
        )

    def calibrations(self) -> tuple[CameraCalibration, ...]:
        """Return the calibrations of the cameras' pictures, and of their distances where these are observed."""
        from tempovla.env.driving.cameras import calibration_of

        size = self.image_width, self.image_height
        kinds = (False, True) if self.depth else (False,)
        return tuple(calibration_of(camera, *size, depth=depth) for camera in self.cameras for depth in kinds)

    @property
    def seen(self) -> tuple[str, ...]:
        """The cameras that are drawn and not broken."""
        if not self.render or ALL_CAMERAS in self.without:
            return ()
        return tuple(camera for camera in self.cameras if camera not in self.without)

    @property
    def measured(self) -> tuple[str, ...]:
        """The sensors of points that are on and not broken."""
        return tuple(name for name in POINT_SENSORS if getattr(self, name) and name not in self.without)

    def make(self) -> DrivingEnv:
        """Return an environment.

        Raises:
            ValueError: for an unknown town or condition.
            ModuleNotFoundError: if SUMO is not installed.
            RenderingUnavailableError: if pictures are wanted and cannot be drawn here.
        """
        from tempovla.env.driving.environment import DrivingEnv

        return DrivingEnv(self)

    def spaces(self) -> tuple[Dict, Box]:
        """Return the spaces of each observation and of actions, which are in metres and radians."""
        from tempovla.env.driving.spaces import spaces_of

        return spaces_of(self)

    def picture_keys(self) -> tuple[str, ...]:
        """Return the streams of pictures and distances that are observed."""
        colours = tuple(IMAGE_KEY_PREFIX + camera for camera in self.seen)
        return colours + (tuple(DEPTH_KEY_PREFIX + camera for camera in self.seen) if self.depth else ())

    def task_names(self) -> tuple[str, ...]:
        """Return all conditions."""
        return tuple(WEATHERS)

    def instruction(self, task: str) -> str:
        """Return what the navigator says where an episode begins; it changes with the route."""
        return COMMANDS["follow"]

    def default_tasks(self, trained: Any) -> tuple[str, ...]:
        """Return the tasks of an evaluation that names none: all conditions."""
        return self.task_names()

    def experts(self) -> CollectConfig:
        """Return how the rule-based driver demonstrates."""
        return CollectConfig(noise=None, binary_gripper=False, steps_after_success=0)
