"""What a driving policy learns beside its trajectories, from what is known in training alone.

Where other road users are, where one can drive and what the next traffic light shows are supervision, and no input:
nothing of it is read when the policy acts, and the heads here are not evaluated then (cf. TransFuser; Chitta et al.,
2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.sensor.bev import BEVGridConfig
from tempovla.model.sensor.bev_boxes import covered_cells
from tempovla.model.sensor.bev_cells import batch_cells, cell_centres, cell_indices
from tempovla.model.sensor.calibrations import view_cameras
from tempovla.model.vla.light_head import LightHead, light_of
from tempovla.model.vla.multi_sensor_config import MultiSensorVLAConfig
from tempovla.model.vla.multi_sensor_encoder import Seen
from tempovla.model.vla.token_fusion import points_of_now
from tempovla.timeline import Context, LossTerm, LossTerms, Metric, Track
from tempovla.timeline.driving import (
    BOXES_KEY,
    HEADS_KEY,
    LIGHT_KEY,
    ROAD_KEY,
    ROAD_SQUARE_M,
    ROAD_X_M,
    ROAD_Y_M,
)

_SPEEDS, _KNOWN = slice(5, 7), 7
"""Columns of a box, named by `BOX_NAMES`."""


class OccupancyHead(nn.Module):
    """Which cells of the bird's eye view other road users cover, now or soon.

    Args:
        dim: channels C of the view.
        grid: the cells.
        times_s: moments from now on that are predicted [s], T of them. Boxes go on at constant velocity until then.
        positive_weight: how much more covered cells count than free ones, of which there are many more.
    """

    def __init__(self, dim: int, grid: BEVGridConfig, times_s: Sequence[float], positive_weight: float) -> None:
        super().__init__()
        self.grid, self.times_s, self.positive_weight = grid, tuple(times_s), positive_weight
        self.layers = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1), nn.ReLU(), nn.Conv2d(dim, len(self.times_s), 1))

    def forward(self, bev: Tensor) -> Tensor:
        """Return logits (B, T, H, W) of views (B, C, H, W)."""
        logits: Tensor = self.layers(in_dtype_of(self.layers, bev))
        return logits

    def targets(self, boxes: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return which cells are covered at each moment (B, T, H, W) bool, and of which it is known, likewise.

        Where a box of unknown velocity is now, nothing is known of later moments.

        Args:
            boxes: (B, N, F), named by `BOX_NAMES`.
            present: (B, N) bool, which boxes are there.
        """
        boxes = torch.where(present[..., None], boxes, 0.0)
        moves = present & (boxes[..., _KNOWN] > 0.5)
        unknown = covered_cells(self.grid, boxes[..., :5], present & ~moves)
        covered, known = [], []
        for time_s in self.times_s:
            moved = boxes[..., :2] + time_s * boxes[..., _SPEEDS]
            there = present if time_s == 0 else moves
            covered.append(covered_cells(self.grid, torch.cat([moved, boxes[..., 2:5]], dim=-1), there))
            known.append(torch.ones_like(unknown) if time_s == 0 else ~unknown)
        return torch.stack(covered, dim=1), torch.stack(known, dim=1)

    def terms(self, bev: Tensor, seen: Tensor, boxes: Track, weight: float) -> LossTerms:
        """Return the binary cross-entropy of all cells as a loss, and the intersection over union as metrics: of all
        moments, and of each where there are several.

        Args:
            bev: (B, C, H, W) views.
            seen: (B,) bool, whether any sensor that is seen in the view was there.
            boxes: of the stream `BOXES_KEY`, the present of each row.
            weight: of the loss.
        """
        covered, known = self.targets(*points_of_now(boxes, seen))
        valid = (boxes.at(0)[1] & seen)[:, None, None, None] & known
        logits = self(bev).float()
        heavy = torch.full((), self.positive_weight, device=logits.device)
        loss = F.binary_cross_entropy_with_logits(logits, covered.float(), pos_weight=heavy, reduction="none")
        found = logits > 0
        both, either = (found & covered).float(), valid & (found | covered)
        moments = enumerate(self.times_s) if len(self.times_s) > 1 else ()
        return {
            "occupancy_loss": LossTerm(loss, None, valid, weight, "mean"),
            "occupancy_iou": Metric(both, None, either),
            **{f"occupancy_iou_{time:g}s": Metric(both[:, at], None, either[:, at]) for at, time in moments},
        }


class RoadHead(nn.Module):
    """How much of each cell of the bird's eye view one can drive on.

    Args:
        dim: channels C of the view.
        grid: the cells.

    Raises:
        ValueError: if cells are smaller than the squares in which the road is known.
    """

    def __init__(self, dim: int, grid: BEVGridConfig) -> None:
        super().__init__()
        if grid.resolution < ROAD_SQUARE_M:
            raise ValueError(
                f"model.grid.resolution={grid.resolution} is finer than the squares of {ROAD_SQUARE_M:g} m in which "
                "the road is known; choose larger cells, or set model.road_weight=0"
            )
        self.grid = grid
        self.layers = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1), nn.ReLU(), nn.Conv2d(dim, 1, 1))
        centres, half = cell_centres(grid), grid.resolution / 2
        within = [
            (centres[..., axis] - half >= low) & (centres[..., axis] + half <= high)
            for axis, (low, high) in enumerate((ROAD_X_M, ROAD_Y_M))
        ]
        self.within: Tensor
        self.register_buffer("within", within[0] & within[1], persistent=False)

    def forward(self, bev: Tensor) -> Tensor:
        """Return logits (B, H, W) of views (B, C, H, W)."""
        logits: Tensor = self.layers(in_dtype_of(self.layers, bev))
        return logits[:, 0]

    def targets(self, squares: Tensor, present: Tensor) -> Tensor:
        """Return the drivable share (B, H, W) of each cell, 0 to 1.

        Args:
            squares: (B, N, 2) centres of drivable squares [m].
            present: (B, N) bool, which of them are there.
        """
        cells, on_grid = cell_indices(self.grid, squares, present)
        held = batch_cells(cells, self.grid.num_cells)[on_grid]
        counts = torch.bincount(held, minlength=len(squares) * self.grid.num_cells)
        share = counts * (ROAD_SQUARE_M / self.grid.resolution) ** 2
        return share.clamp(max=1.0).view(-1, self.grid.rows, self.grid.columns)

    def terms(self, bev: Tensor, seen: Tensor, road: Track, weight: float) -> LossTerms:
        """Return the binary cross-entropy of all cells as a loss, and the intersection over union as a metric.

        Args:
            bev: (B, C, H, W) views.
            seen: (B,) bool, whether any sensor that is seen in the view was there.
            road: of the stream `ROAD_KEY`, the present of each row.
            weight: of the loss.
        """
        share = self.targets(*points_of_now(road, seen))
        known = (road.at(0)[1] & seen)[:, None, None] & self.within
        logits = self(bev).float()
        loss = F.binary_cross_entropy_with_logits(logits, share, reduction="none")
        found, there = logits > 0, share > 0.5
        return {
            "road_loss": LossTerm(loss, None, known, weight, "mean"),
            "road_iou": Metric((found & there).float(), None, known & (found | there)),
        }


class DrivingSupervision(nn.Module):
    """The heads that a config asks for, none by default, and their loss terms.

    Args:
        config: of the policy.
        light: finds traffic lights in the front camera's picture; None where it does not look for them.
    """

    def __init__(self, config: MultiSensorVLAConfig, light: LightHead | None) -> None:
        super().__init__()
        self.config, self.occupancy, self.road = config, None, None
        self._light = [light]  # its weights are those of the encoder
        if config.learns_occupancy:
            weight = config.occupancy_positive_weight
            self.occupancy = OccupancyHead(config.bev_dim, config.grid, config.occupancy_times, weight)
        if config.learns_road:
            self.road = RoadHead(config.bev_dim, config.grid)

    def forward(self, seen: Seen, bev: Tensor | None, context: Context) -> LossTerms:
        """Return the terms of frames, without those whose stream is not given.

        Args:
            seen: what the sensors tell.
            bev: (B, C, H, W) the view that trajectories follow from.
            context: the present of each row.
        """
        terms: dict[str, LossTerm | Metric] = {}
        if self.occupancy is not None and bev is not None and BOXES_KEY in context.now:
            boxes = context.now[BOXES_KEY]
            terms |= self.occupancy.terms(bev, seen.mapped, boxes, self.config.occupancy_weight)
        if self.road is not None and bev is not None and ROAD_KEY in context.now:
            terms |= self.road.terms(bev, seen.mapped, context.now[ROAD_KEY], self.config.road_weight)
        if self.config.finds_lights and {LIGHT_KEY, HEADS_KEY} <= set(context.now):
            terms |= self._light_terms(seen, context)
        return terms

    @property
    def light(self) -> LightHead | None:
        """What finds traffic lights."""
        return self._light[0]

    def _light_terms(self, seen: Seen, context: Context) -> LossTerms:
        view, camera, heads = seen.view, self.config.front_camera, context.now[HEADS_KEY]
        if view is None or self.light is None or camera is None:
            return {}
        state, known = light_of(context.now[LIGHT_KEY])
        valid = known & heads.at(0)[1] & seen.front
        places, present = points_of_now(heads, valid)
        cameras = view_cameras(
            context.task, [camera], view.size, needs_intrinsics=True, needs_extrinsics=True, device=context.device
        )
        assert cameras.intrinsics is not None
        assert cameras.extrinsics is not None
        target = self.light.targets(places, present, state, cameras.intrinsics, cameras.extrinsics, view)
        return self.light.terms(view, valid, state, target, self.config.light_weight)
