"""Trajectories that give way to what the policy itself sees on them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.timeline.trajectory import rotate

SHARES = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)
"""How far along its way the car gets in the same time, the furthest first."""
SHIFTS_M, SHIFTED_OVER_M = (0.0, 0.4, 0.8, -0.4), 6.0
"""By how much the car moves over to the left, the first choice first, and over how long a way [m]."""
FROM_M, TO_M, HALF_WIDTH_M = 0.5, 3.9, 0.9
"""The part of the car that must not meet anybody, in its frame, whose origin is the rear axle: its front, and half a
metre more. Whoever comes from behind keeps its own distance."""
KNOWN_S = 0.5
"""How long after the last moment that is predicted what is predicted there counts [s]."""
_ALONG, _ACROSS = 8, 5
"""Places of this part that are looked at."""


class OccupancyBrake:
    """Drives along the same way, but slower or a little aside, where it would meet a cell that is predicted to be
    covered.

    Several speeds are tried, each with the shifts to the side, and the fastest one that is free is taken; if none is
    free, the car stops. Predictions of occupancy serve planning likewise in UniAD (Hu et al., 2023) and in InterFuser
    (Shao et al., 2022).

    Args:
        grid: the cells.
        times_s: moments from now on of which it is predicted [s], T of them.
        rate_hz: rate of the waypoints [Hz].
        threshold: probability from which on a cell counts as covered.

    Raises:
        ValueError: if the first waypoint is later than all that is predicted.
    """

    def __init__(self, grid: BEVGridConfig, times_s: Sequence[float], rate_hz: float, threshold: float) -> None:
        if 1 / rate_hz > max(times_s) + KNOWN_S:
            raise ValueError(
                f"waypoints at model.rate_hz={rate_hz} are later than model.occupancy_times={list(times_s)}, so that "
                "model.brake_threshold would have no effect; set it to 0, or let later times be learned"
            )
        self.grid, self.times_s, self.rate_hz, self.threshold = grid, tuple(times_s), rate_hz, threshold

    def __call__(self, waypoints: Tensor, probability: Tensor) -> Tensor:
        """Return the trajectories (B, H, 3) that are driven.

        Args:
            waypoints: (B, H, 3) planned poses after 1 to H control steps in the vehicle's frame of now [m, rad].
            probability: (B, T, rows, columns) that each cell is covered at each moment.
        """
        tried = _shifted(self._slower(waypoints))
        free = self._risk(tried, probability) < self.threshold
        free[:, -1] = True  # there the car stands
        choice = free.to(torch.uint8).argmax(dim=1)  # the first of the largest
        return tried[torch.arange(len(waypoints), device=waypoints.device), choice]

    def _slower(self, waypoints: Tensor) -> Tensor:
        """The same way at all speeds (B, S, H, 3)."""
        path = torch.cat([torch.zeros_like(waypoints[:, :1]), waypoints], dim=1)
        steps = torch.arange(1, path.shape[1], device=path.device, dtype=path.dtype)
        place = path.new_tensor(SHARES)[:, None] * steps
        before = place.floor().long().clamp(max=path.shape[1] - 2)
        share = (place - before)[..., None]
        return torch.lerp(path[:, before], path[:, before + 1], share)

    def _risk(self, poses: Tensor, probability: Tensor) -> Tensor:
        """The largest probability (B, S) of the cells that the car comes to, at the moments when it is there."""
        horizon = poses.shape[2]
        along = torch.linspace(FROM_M, TO_M, _ALONG, device=poses.device, dtype=poses.dtype)
        across = torch.linspace(-HALF_WIDTH_M, HALF_WIDTH_M, _ACROSS, device=poses.device, dtype=poses.dtype)
        x, y = (each.reshape(-1) for each in torch.meshgrid(along, across, indexing="ij"))
        ahead, left = rotate(x, y, poses[..., 2:3])
        row, column = self.grid.to_grid(poses[..., 0:1] + ahead, poses[..., 1:2] + left)
        places = torch.stack([2 * column / self.grid.columns - 1, 2 * row / self.grid.rows - 1], dim=-1)
        found = F.grid_sample(
            probability.to(poses.dtype), places.flatten(2, 3), align_corners=False, padding_mode="zeros"
        )
        found = found.unflatten(3, (horizon, len(x))).amax(dim=-1)
        when = self._when(horizon).to(poses.device)
        return torch.where(when[:, None], found, 0.0).amax(dim=(1, 3))

    def _when(self, horizon: int) -> Tensor:
        """Which of the moments (T, H) bool count for each waypoint: the last one until then, and the first one after.

        Nothing is known of waypoints more than `KNOWN_S` after the last moment, or before the first one.
        """
        times, known_s = sorted(self.times_s), max(self.times_s) + KNOWN_S
        told = torch.zeros(len(times), horizon, dtype=torch.bool)
        for step in range(horizon):
            time = (step + 1) / self.rate_hz
            if not times[0] - KNOWN_S <= time <= known_s:
                continue
            last = max((each for each in times if each <= time), default=None)
            next_one = min((each for each in times if each >= time), default=None)
            for index, each in enumerate(self.times_s):
                told[index, step] = each in (last, next_one)
        return told


def _shifted(poses: Tensor) -> Tensor:
    """Trajectories (B, S, H, 3) with all shifts to the side, (B, S * K, H, 3), those of the same speed in a row."""
    before = torch.cat([torch.zeros_like(poses[:, :, :1]), poses[:, :, :-1]], dim=2)
    gone = (poses - before)[..., :2].norm(dim=-1).cumsum(dim=2)
    shift = poses.new_tensor(SHIFTS_M)[:, None]
    share = (gone / SHIFTED_OVER_M).clamp(max=1.0)[:, :, None]
    turn = torch.where(share < 1.0, shift / SHIFTED_OVER_M, torch.zeros_like(share)) * (share > 0)
    x, y, heading = (each[:, :, None] for each in poses.unbind(dim=-1))
    aside = shift * share
    moved = torch.stack([x - aside * heading.sin(), y + aside * heading.cos(), heading + turn], dim=-1)
    return moved.flatten(1, 2)
