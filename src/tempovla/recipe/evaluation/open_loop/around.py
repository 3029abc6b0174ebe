"""What a dataset knows of the surroundings of a car, in the form in which trajectories are judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tempovla.data.window import origin_of
from tempovla.recipe.evaluation.open_loop.measure import Around
from tempovla.recipe.evaluation.open_loop.recorded import BoxesAt, DrivableAt
from tempovla.recipe.evaluation.open_loop.trajectories import Array, Bools
from tempovla.timeline import EpisodeSource

AGENTS = ("vehicle", "human", "animal")
"""First parts of the categories with which a collision counts: not cones, barriers and debris."""


class BoxesOf(Protocol):
    """Objects in the ego frame; see `Annotated.boxes`."""

    @property
    def center(self) -> Array: ...  # noqa: D102 - (M, 3) [m]
    @property
    def size(self) -> Array: ...  # noqa: D102 - (M, 3) width, length, height [m]
    @property
    def yaw(self) -> Array: ...  # noqa: D102 - (M,) [rad]
    @property
    def category(self) -> Sequence[str]: ...  # noqa: D102 - (M,)


class AreaOf(Protocol):
    """Where one can drive; see `Annotated.drivable`."""

    def contains(self, points: Any) -> NDArray[np.bool_]: ...  # noqa: D102 - (..., 2) global [m] to (...,)


@runtime_checkable
class Annotated(Protocol):
    """A dataset of driving that knows what is around the car."""

    def boxes(self, episode: int, step: int) -> BoxesOf:
        """Return the annotated objects at a control step, in its ego frame."""

    def drivable(self, episode: int) -> AreaOf | None:
        """Return where one can drive in the frame of the map of an episode; None where that is not known."""

    def ego_poses(self, episode: int) -> NDArray[np.float64]:
        """Return poses (T, 4, 4) of the car at the control steps, from the ego frame to that of the map."""


def rectangles_of(boxes: BoxesOf, agents: Sequence[str] = AGENTS) -> Array:
    """Return the rectangles (M, 5) on the ground of the objects of some categories: x, y, heading, length and width."""
    chosen = [row for row, name in enumerate(boxes.category) if name.split(".")[0] in agents]
    parts = (boxes.center[chosen, :2], boxes.yaw[chosen, None], boxes.size[chosen][:, [1, 0]])
    return np.concatenate(parts, axis=1)


def around_of(source: EpisodeSource, episodes: Sequence[int]) -> Around:
    """Return what a dataset knows of the surroundings of the car in some episodes; nothing if it is not `Annotated`.

    The drivable surface counts as known only where it is known of all of the episodes.
    """
    if not all(isinstance(origin_of(source, episode)[0], Annotated) for episode in episodes):
        return Around()
    maps_are_known = all(_annotated(source, episode)[0].drivable(origin_of(source, episode)[1]) for episode in episodes)
    return Around(_boxes_at(source), _drivable_at(source) if maps_are_known else None)


def _annotated(source: EpisodeSource, episode: int) -> tuple[Annotated, int]:
    origin, number = origin_of(source, episode)
    assert isinstance(origin, Annotated)
    return origin, number


def _boxes_at(source: EpisodeSource) -> BoxesAt:
    known: dict[tuple[int, int], Array] = {}

    def boxes_at(scene: int, step: int) -> Array:
        if (scene, step) not in known:
            origin, episode = _annotated(source, scene)
            known[(scene, step)] = rectangles_of(origin.boxes(episode, step))
        return known[(scene, step)]

    return boxes_at


def _drivable_at(source: EpisodeSource) -> DrivableAt:
    poses: dict[int, NDArray[np.float64]] = {}

    def drivable_at(scene: int, step: int, points: Array) -> Bools:
        origin, episode = _annotated(source, scene)
        if scene not in poses:
            poses[scene] = origin.ego_poses(episode)
        pose, area = poses[scene][step], origin.drivable(episode)
        assert area is not None
        return area.contains(points @ pose[:2, :2].T + pose[:2, 3])

    return drivable_at
