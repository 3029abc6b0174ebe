"""Planned paths of the hand over the pictures of an episode."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tempovla.control.controller import Controller
from tempovla.env.protocol import SimulatorConfig
from tempovla.recipe.evaluation.hand_paths import HandMotion, fixed_cameras, projected
from tempovla.recipe.evaluation.plans import EpisodePlans, plans_of
from tempovla.report.drawn_path import draw_path
from tempovla.report.video import SCALE, enlarged
from tempovla.rollout.runner import EpisodeResult
from tempovla.timeline.calibration import CameraCalibration
from tempovla.timeline.keys import STATE_KEY

LEAST_PX = 384
"""Height of the pictures over which plans are drawn."""


@dataclass(frozen=True)
class ViewedPlans:
    """The plans of an episode, and where cameras see them.

    Attributes:
        plans: of the N decisions.
        paths: by stream of pictures, (N, H + 1, 2) the planned path of the hand in pixels from the picture's upper left
            corner; empty where it is not known.
    """

    plans: EpisodePlans
    paths: Mapping[str, NDArray[np.float64]]

    def drawn(self, stream: str, pictures: NDArray[np.uint8], every: int) -> NDArray[np.uint8]:
        """Return pictures (F, H, W, 3) uint8, enlarged, with the plan of the latest decision over each.

        They become at least `SCALE` times and `LEAST_PX` high, so that the line is thin beside what it shows.

        Args:
            stream: of the pictures.
            pictures: of the control steps 0, `every`, 2 * `every` and so on.
            every: control steps from one picture to the next.
        """
        scale = max(SCALE, math.ceil(LEAST_PX / pictures.shape[1]))
        frames = enlarged(pictures, scale)
        if stream in self.paths:
            for index, frame in enumerate(frames):
                draw_path(frame, scale * self.paths[stream][index * every // self.plans.stride])
        return frames


class PlanViewer:
    """Looks at what a policy planned in episodes.

    Args:
        controller: the policy behind its transforms; `tells_plans` is true of it.
        env_config: the simulator, with the cameras of the pictures.
    """

    def __init__(self, controller: Controller, env_config: SimulatorConfig) -> None:
        self.controller, self.env_config = controller, env_config
        self._motion = HandMotion.of(controller.embodiment)
        self._cameras: dict[str, tuple[CameraCalibration, ...]] = {}

    def view(self, result: EpisodeResult) -> ViewedPlans:
        """Return the plans of an episode with its recording."""
        assert result.recording is not None
        plans = plans_of(self.controller, result)
        if self._motion is None:
            return ViewedPlans(plans, {})
        task = result.spec.task
        if task not in self._cameras:
            self._cameras[task] = fixed_cameras(self.env_config, task)
        points = self._motion.paths(result.recording[STATE_KEY][:: plans.stride], plans.actions, plans.stride)
        seen = [camera for camera in self._cameras[task] if camera.stream in result.recording]
        return ViewedPlans(plans, {camera.stream: projected(points, camera) for camera in seen})
