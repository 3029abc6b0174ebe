"""Rays through a town, as LiDAR and radar send them and as one asks what is in sight."""

from __future__ import annotations

import mujoco
import numpy as np

from tempovla.env.driving.model import DRAWN, DRAWN_AND_MET, MET
from tempovla.env.driving.stage import Stage

_HIDDEN = 5
_SLACK_RAD = 0.01


class RayCaster:
    """Shoots rays at a stage as it is set. Road users and houses are met, and lights, shadows and the ego are not.

    Args:
        stage: the town.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        model = stage.model
        self._met = (stage.groups == DRAWN_AND_MET) | (stage.groups == MET)
        self._unbounded = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
        self._groups = np.zeros(6, np.uint8)
        self._groups[DRAWN_AND_MET] = 1
        assert DRAWN != DRAWN_AND_MET

    def cast(self, origin: np.ndarray, rays: np.ndarray, range_m: float) -> tuple[np.ndarray, np.ndarray]:
        """Return how far rays fly, (N,) [m], -1 where they meet nothing, and the geom that each meets, (N,) int, -1.

        Args:
            origin: (3,) where they start.
            rays: (N, 3) unit vectors.
            range_m: how far they are followed.
        """
        relative = self._stage.data.geom_xpos - origin
        near = np.linalg.norm(relative, axis=1) - self._stage.model.geom_rbound < range_m
        return self._shoot(origin, rays, (near & self._met) | self._unbounded, range_m)

    def sweep(
        self, origin: np.ndarray, rays: np.ndarray, start_rad: float, sectors: int, range_m: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what a full turn of rays meets, (R, A) each, as `cast` does.

        Args:
            origin: (3,) where they start.
            rays: (R, A, 3) unit vectors whose azimuth grows along the second axis, all around.
            start_rad: azimuth of the first column.
            sectors: number of parts, a divisor of A, in each of which only what lies there is looked at.
            range_m: how far rays are followed.
        """
        model, data = self._stage.model, self._stage.data
        rings, azimuths, _ = rays.shape
        relative = data.geom_xpos - origin
        flat, radius = np.hypot(relative[:, 0], relative[:, 1]), model.geom_rbound
        near = self._met & (np.linalg.norm(relative, axis=1) - radius < range_m)
        azimuth = np.arctan2(relative[:, 1], relative[:, 0]) - start_rad
        outside = flat > radius * 1.02
        half = np.where(outside, np.arcsin(np.clip(radius / np.maximum(flat, 1e-6), 0, 1)), np.pi)
        width, columns = 2 * np.pi / sectors, azimuths // sectors
        distances, geoms = np.empty((rings, azimuths)), np.empty((rings, azimuths), np.int32)
        for sector in range(sectors):
            away = np.abs((azimuth - (sector + 0.5) * width + np.pi) % (2 * np.pi) - np.pi)
            looked_at = (near & (away < half + width / 2 + _SLACK_RAD)) | self._unbounded
            part = slice(sector * columns, (sector + 1) * columns)
            found = self._shoot(origin, rays[:, part].reshape(-1, 3), looked_at, range_m)
            distances[:, part], geoms[:, part] = (one.reshape(rings, columns) for one in found)
        return distances, geoms

    def _shoot(
        self, origin: np.ndarray, rays: np.ndarray, looked_at: np.ndarray, range_m: float
    ) -> tuple[np.ndarray, np.ndarray]:
        stage, count = self._stage, len(rays)
        model = stage.model
        geoms, distances = np.full(count, -1, np.int32), np.full(count, -1.0)
        model.geom_group[:] = np.where(looked_at, DRAWN_AND_MET, _HIDDEN)
        flat = np.ascontiguousarray(rays, np.float64).reshape(-1)
        mujoco.mj_multiRay(
            model, stage.data, origin, flat, self._groups, 1, stage.rig, geoms, distances, count, range_m
        )
        model.geom_group[:] = stage.groups
        beyond = (distances < 0) | (distances > range_m)
        distances[beyond], geoms[beyond] = -1.0, -1
        return distances, geoms
