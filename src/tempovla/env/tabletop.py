"""Meta-World's arm and table: drawing, observations and instructions of all environments there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tempovla.env.collect import CollectConfig
from tempovla.env.defaults import SimulatorDefaults, depth_spaces
from tempovla.env.expert import ActionNoise
from tempovla.env.protocol import shows_depth
from tempovla.timeline.keys import IMAGE_KEY_PREFIX, STATE_KEY

if TYPE_CHECKING:
    import gymnasium
    from gymnasium.spaces import Box, Dict

    from tempovla.timeline import Embodiment

CONTROL_RATE_HZ = 80
ACTION_DIMS = 4
STATE_DIMS = 4

_STATE_LOW = (-0.525, 0.348, -0.0525, 0.0)
_STATE_HIGH = (0.525, 1.025, 0.7, 1.0)


@dataclass(frozen=True)
class TabletopConfig(SimulatorDefaults):
    """Pictures and step limits of all environments on this table; each has a config of its own.

    Attributes:
        task: the task until a reset names another one.
        cameras: names of Meta-World's cameras, in order.
        image_size: height and width of each camera's image, in pixels.
        supersample: number of drawn pixels for each image pixel, along each side.
        mesh_cell_m: leave out details of meshes that are smaller than this [m], which halves the cost; 0 draws all
            details.
        max_steps: number of control steps after which an episode is truncated; None takes the limit of the task.
        terminate_on_success: end the episode at its first success. Experts go on a little to record the end.
        render: False draws no images and needs no OpenGL.
        depth: observe how far away each camera sees things, too, in whole millimetres.
    """

    title: ClassVar[str]
    sensors: ClassVar[tuple[str, ...]] = ("depth",)

    task: str = ""
    cameras: tuple[str, ...] = ("corner2", "gripperPOV")
    image_size: int = 64
    supersample: int = 2
    mesh_cell_m: float = 0.015
    max_steps: int | None = None
    terminate_on_success: bool = True
    render: bool = True
    depth: bool = False

    def __post_init__(self) -> None:
        for name in ("image_size", "supersample", "max_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if self.mesh_cell_m < 0:
            raise ValueError(f"mesh_cell_m={self.mesh_cell_m} must not be negative; 0 draws all details")

    def spaces(self) -> tuple[Dict, Box]:
        """Return the spaces of each observation and of actions, the same for all tasks."""
        from gymnasium.spaces import Box, Dict

        state = Box(np.array(_STATE_LOW, np.float32), np.array(_STATE_HIGH, np.float32))
        observations: dict[str, gymnasium.Space] = {STATE_KEY: state}
        if self.render:
            image = Box(0, 255, (self.image_size, self.image_size, 3), np.uint8)
            observations |= {IMAGE_KEY_PREFIX + name: image for name in self.cameras}
        if shows_depth(self):
            observations |= depth_spaces(self.cameras, self.image_size)
        return Dict(observations), Box(-1, 1, (ACTION_DIMS,), np.float32)

    @property
    def embodiment(self) -> Embodiment:
        """Meta-World's arm."""
        from tempovla.env.embodiment import METAWORLD_SAWYER

        return METAWORLD_SAWYER

    def experts(self) -> CollectConfig:
        """They are disturbed while they act, and close the gripper or open it."""
        return CollectConfig(noise=ActionNoise(max_sigma=0.5, correlation=0.5), binary_gripper=True)
