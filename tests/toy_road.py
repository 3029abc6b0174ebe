"""A simulator of a car on a straight road with nothing but numpy: it measures its episodes, and is seen from above."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, Dict
from tests.driven_scenes import CAR

from tempovla.env.base import TaskEnv
from tempovla.env.defaults import SimulatorDefaults
from tempovla.env.driving_scores import with_scores
from tempovla.env.protocol import Observation
from tempovla.timeline import Embodiment
from tempovla.timeline.driving import COMMANDS, FIGURES, LIDAR_KEY
from tempovla.timeline.keys import IMAGE_KEY_PREFIX, STATE_KEY

HEIGHT, WIDTH, POINTS = 8, 14, 5
ROUTE_M, JUNCTION_M = 20.0, 6.0


@dataclass(frozen=True)
class RoadConfig(SimulatorDefaults):
    """A route of 20 m; the navigator tells to turn left from 6 m on."""

    title: ClassVar[str] = "Road"
    embodiment: ClassVar[Embodiment] = CAR
    recorded: ClassVar[tuple[str, ...]] = ("without", "wrong_commands")
    varied: ClassVar[tuple[str, ...]] = ("without", "wrong_commands")
    sensors: ClassVar[tuple[str, ...]] = ("lidar",)

    task: str = "day"
    cameras: tuple[str, ...] = ("front", "front_left", "back")
    render: bool = True
    lidar: bool = False
    max_steps: int = 16
    terminate_on_success: bool = True
    without: tuple[str, ...] = ()
    wrong_commands: bool = False

    def make(self) -> RoadEnv:
        return RoadEnv(self)

    def spaces(self) -> tuple[Dict, Box]:
        shown: dict[str, Any] = {STATE_KEY: Box(-np.inf, np.inf, (4,), np.float32)}
        for camera in self.cameras if self.render else ():
            shown[IMAGE_KEY_PREFIX + camera] = Box(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        if self.lidar:
            shown[LIDAR_KEY] = Box(-np.inf, np.inf, (POINTS, 4), np.float32)
        broken = {name for key in shown for name in self.without if key.endswith(f".{name}")}
        kept = {key: space for key, space in shown.items() if key.rpartition(".")[2] not in broken}
        return Dict(kept), Box(-10, 10, (3,), np.float32)

    def task_names(self) -> tuple[str, ...]:
        return ("day", "night")

    def instruction(self, task: str) -> str:
        return COMMANDS["follow"]


class RoadEnv(TaskEnv):
    """The car goes where its actions say; another one stands 15 m ahead, to the left of the road."""

    config: RoadConfig

    def __init__(self, config: RoadConfig) -> None:
        super().__init__(config, config.task)
        self._x = self._y = self._speed = 0.0
        self._steps = 0

    @property
    def instruction(self) -> str:
        if self._x < JUNCTION_M:
            return COMMANDS["follow"]
        return COMMANDS["right" if self.config.wrong_commands else "left"]

    @property
    def state(self) -> np.ndarray:
        return np.array([self._speed, 0, 0, 0], np.float32)

    def reset_state(self, *, seed: int | None = None, task: str | None = None, init_state: int | None = None) -> None:
        self.config.check_init_state(init_state)
        self._task = task or self._task
        self._seed_generator(seed)
        self._x, self._y, self._speed, self._steps = float(self.np_random.uniform(0, 1)), 0.0, 0.0, 0

    def advance(self, action: np.ndarray) -> tuple[float, bool, bool, dict]:
        self._x, self._y = self._x + float(action[0]), self._y + float(action[1])
        self._speed, self._steps = 2 * float(action[0]), self._steps + 1
        done = self._x >= ROUTE_M
        return 0.0, done, self._steps >= self.config.max_steps, {"success": done}

    def draw(self, camera: str) -> np.ndarray:
        return np.full((HEIGHT, WIDTH, 3), round(10 * self._x), np.uint8)

    def observe(self) -> Observation:
        seen = super().observe()
        if self.config.lidar:
            points = np.full((POINTS, 4), np.nan, np.float32)
            points[:2] = [[5 - self._x, 2, 0, 1], [15 - self._x, 3, 0, 1]]
            seen[LIDAR_KEY] = points
        return {key: value for key, value in seen.items() if key.rpartition(".")[2] not in self.config.without}

    def expert(self) -> Any:
        raise ValueError("nobody drives here by script")

    def figures(self) -> Mapping[str, float]:
        measured = dict.fromkeys(FIGURES, 0.0) | {"drivable": 1.0, "completion": min(self._x / ROUTE_M, 1.0)}
        measured["progress"] = measured["completion"]
        measured["timeout"] = float(self._x < ROUTE_M)
        return with_scores(measured)

    def snapshot(self) -> Mapping[str, Any]:
        return {
            "ego": np.array([self._x, self._y, 0.0]),
            "ego_box": np.array([self._x + 1.4, self._y, 0.0, 4.1, 1.8]),
            "boxes": np.array([[15.0, 3.0, 0.0, 4.5, 1.9]]),
            "route": np.array([[0.0, 0.0], [ROUTE_M, 0.0], [ROUTE_M + 500, 0.0]]),
            "lanes": (np.array([[0.0, 1.8], [ROUTE_M, 1.8]]),),
            "lights": ((18.0, -3.0, "r"), (19.0, -3.0, "O")),
        }
