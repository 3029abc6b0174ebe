"""Scenes of the rule-based driver with all of its sensors, to be written as datasets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tempovla.env.driving.agents import ID, KIND, NAMES, PEDESTRIAN, SPEED, X, Y, boxes_of
from tempovla.env.driving.car import SUBSTEP_S, SUBSTEPS, TRAFFIC_EVERY, CarState
from tempovla.env.driving.config import DrivingConfig
from tempovla.env.driving.environment import DrivingEnv, Instant
from tempovla.env.driving.infractions import PARKED_FROM
from tempovla.env.driving.next_light import NextLight
from tempovla.env.seeding import episode_seed
from tempovla.timeline.driving import Command

if TYPE_CHECKING:
    from tempovla.env.driving.radar import Targets

_ANNOTATED_M = 80.0
_TWO_WHEELED = ("motorcycle", "bicycle")
_LEAST_DRIVEN_M = 5.0


@dataclass(frozen=True)
class Annotation:
    """A road user at a key frame.

    Attributes:
        instance: name that stays the same in a scene.
        kind: number of `agents.KINDS`.
        attribute: one of nuScenes'.
        box: (5,) x, y, yaw, length and width in the town's frame [m, rad].
        lidar_points: points of the LiDAR on it.
        radar_points: targets of the radars on it.
        visible: share of it that is in sight.
    """

    instance: str
    kind: int
    attribute: str
    box: np.ndarray
    lidar_points: int
    radar_points: int
    visible: float


@dataclass(frozen=True)
class Frame:
    """What the sensors measure at one moment.

    Attributes:
        time_s: since the scene began [s].
        pose: the ego's x, y and yaw in the town's frame.
        key: whether it is a key frame.
        pictures: (H, W, 3) uint8 by camera.
        lidar: (N, 5) float32 in the ego frame, x, y, z, intensity, ring; None where it is off.
        radar: targets by radar; empty where they are off.
        annotations: of a key frame.
        depths: (H, W, 1) float32 distances in the pictures [m], by camera; empty where they are off.
    """

    time_s: float
    pose: tuple[float, float, float]
    key: bool
    pictures: dict[str, np.ndarray]
    lidar: np.ndarray | None
    radar: dict[str, Targets]
    annotations: tuple[Annotation, ...] = ()
    depths: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class RecordedScene:
    """One scene.

    Attributes:
        task: its light and weather.
        town: the town.
        seed: that plays it again.
        attempts: how many were tried to get this one, itself included.
        frames: in order.
        commands: what the navigator says at each key frame.
        perturbed: whether the car was pushed between each key frame and the next.
        states: (N, 8) time [s], x, y, yaw, speed, steering, acceleration and yaw rate, `car.SUBSTEP_S` apart.
        imu: (N, 6) accelerations and turn rates of the inertial sensor at the same moments; empty where it is off.
        route: (K, 2) the ego's route in the town's frame [m].
        lights: link states of the traffic lights at each key frame.
        next_light: the next traffic light on the route at each key frame; None where there is none.
    """

    task: str
    town: str
    seed: int
    attempts: int
    frames: list[Frame] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    perturbed: list[bool] = field(default_factory=list)
    states: np.ndarray = field(default_factory=lambda: np.zeros((0, 8)))
    imu: np.ndarray = field(default_factory=lambda: np.zeros((0, 6)))
    route: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    lights: list[dict[str, str]] = field(default_factory=list)
    next_light: list[NextLight | None] = field(default_factory=list)


class SceneRecorder:
    """Plays and records scenes in a process of its own.

    Args:
        config: the settings; `seconds` and `sweeps` are those of scenes.
        seed: of all scenes.
        max_attempts: after which a scene is given up.
    """

    def __init__(self, config: DrivingConfig, seed: int, max_attempts: int) -> None:
        steps = round(config.seconds / (SUBSTEP_S * SUBSTEPS))
        self._config = replace(config, terminate_on_success=False, max_steps=max(steps + 1, 2))
        self._env = DrivingEnv(self._config)
        self._seed, self._max_attempts, self._steps = seed, max_attempts, steps

    def record(self, task: str, number: int) -> RecordedScene:
        """Return a scene in which the driver did not fail.

        Args:
            task: its light and weather.
            number: of the scene.

        Raises:
            ValueError: if it fails too often.
        """
        for attempt in range(self._max_attempts):
            seed = episode_seed("collect", self._seed, task, number, attempt)
            if self._is_sound(task, seed):
                return self._record(task, seed, attempt + 1)
        raise ValueError(
            f"the driver of {task} failed {self._max_attempts} times in a row; give fewer vehicles or shorter scenes"
        )

    def _is_sound(self, task: str, seed: int) -> bool:
        """Whether the driver plays a scene to its end, played without measuring."""
        env = self._env
        env.reset_state(seed=seed, task=task)
        expert = env.expert()
        for _ in range(self._steps):
            _, terminated, _, info = env.advance(expert.act())
            figures = env.figures()
            if terminated or info["success"] or figures["red_lights"]:
                return False
        # A scene of nothing but standing teaches little.
        return env.figures()["distance_m"] > _LEAST_DRIVEN_M

    def _record(self, task: str, seed: int, attempts: int) -> RecordedScene:
        env, config = self._env, self._config
        env.reset_state(seed=seed, task=task)
        expert = env.expert()
        scene = RecordedScene(task, config.town, seed, attempts, route=env.route.line)
        states, imu = [_row(env.now.car, 0.0)], [env.senses().imu(env.now)[-1:, 1:]]
        for step in range(self._steps):
            self._key_frame(scene)
            env.advance(expert.act())
            scene.perturbed.append(env.perturbed)
            now, start = env.now, step * SUBSTEPS
            states += [_row(car, (start + 1 + index) * SUBSTEP_S) for index, car in enumerate(now.since)]
            imu.append(env.senses().imu(now)[:, 1:])
            if config.sweeps:
                scene.frames += [self._frame(moment, key=False) for moment in env.moments[:-1]]
        scene.perturbed[-1] = False  # nothing follows the last key frame
        scene.states = np.array(states)
        scene.imu = np.concatenate(imu) if config.imu else np.zeros((0, 6))
        return scene

    def _key_frame(self, scene: RecordedScene) -> None:
        scene.frames.append(self._frame(self._env.now, key=True))
        scene.commands.append(self._env.command)
        scene.lights.append(dict(self._env.now.lights))
        scene.next_light.append(self._env.next_light)

    def _frame(self, moment: Instant, *, key: bool) -> Frame:
        config, senses = self._config, self._env.senses()
        pictures = {camera: senses.picture(moment, camera) for camera in config.seen}
        lidar, on_agents = senses.lidar(moment) if "lidar" in config.measured else (None, np.zeros(0, int))
        radar = senses.radar(moment) if "radar" in config.measured else {}
        counted: tuple[Annotation, ...] = ()
        if key:
            targets = [found.agents for found in radar.values()]
            counted = self._annotations(moment, on_agents, np.concatenate([*targets, np.zeros(0, int)]))
        time_s = moment.tick * TRAFFIC_EVERY * SUBSTEP_S
        depths = {camera: senses.depth(moment, camera) for camera in config.seen if config.depth}
        return Frame(time_s, moment.pose, key, pictures, lidar, radar, counted, depths)

    def _annotations(self, moment: Instant, lidar: np.ndarray, radar: np.ndarray) -> tuple[Annotation, ...]:
        agents = moment.agents
        count = len(agents)
        on_lidar = np.bincount(lidar[lidar >= 0], minlength=count)
        on_radar = np.bincount(radar[radar >= 0].astype(int), minlength=count)
        shares = self._env.senses().visible_shares(moment)
        near = np.hypot(agents[:, X] - moment.car.x, agents[:, Y] - moment.car.y) < _ANNOTATED_M
        boxes = boxes_of(agents)
        return tuple(
            Annotation(
                f"{NAMES[int(agents[row, KIND])]}-{int(agents[row, ID])}",
                int(agents[row, KIND]),
                _attribute(agents[row]),
                boxes[row],
                int(on_lidar[row]),
                int(on_radar[row]),
                float(shares[row]),
            )
            for row in np.flatnonzero(near & ((on_lidar + on_radar > 0) | (shares > 0)))
        )


def _attribute(agent: np.ndarray) -> str:
    """NuScenes' attribute of a road user (`agents.FIELDS`,)."""
    moves = agent[SPEED] > 0.2
    if agent[KIND] == PEDESTRIAN:
        return "pedestrian.moving" if moves else "pedestrian.standing"
    if NAMES[int(agent[KIND])] in _TWO_WHEELED:
        return "cycle.with_rider"
    if agent[ID] >= PARKED_FROM:
        return "vehicle.parked"
    return "vehicle.moving" if moves else "vehicle.stopped"


def _row(car: CarState, time_s: float) -> tuple[float, ...]:
    return (time_s, car.x, car.y, car.yaw, car.speed, car.steering, car.acceleration, car.yaw_rate)


def describe(scene: RecordedScene) -> dict[str, Any]:
    """Return facts of a scene as plain JSON values."""
    return {"town": scene.town, "condition": scene.task, "seed": scene.seed, "attempts": scene.attempts}
