"""What the next traffic light shows, found in the picture of the front camera."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.sensor.project import project
from tempovla.timeline import LossTerm, LossTerms, Metric, Track
from tempovla.timeline.driving import LIGHT_STATES

NUM_STATES = len(LIGHT_STATES) - 1
"""What a light can show, without `none`."""


class FrontView(NamedTuple):
    """What the front camera sees.

    Attributes:
        cells: (B, C, h, w) features of its picture.
        logits: (B, K, h, w) of `LIGHT_STATES` in each cell; None where lights are not looked for.
        size: height and width of the picture [px].
    """

    cells: Tensor
    logits: Tensor | None
    size: tuple[int, int]


class LightHead(nn.Module):
    """In which cells of the picture there is a head of the next traffic light on the route, and what it shows.

    Which of several lights counts follows from where they are, so that cells are told their places.

    Args:
        dim: channels C of the features.
        width: of the hidden layer.
        positive_weight: how much more cells with a light count in the loss than others, of which there are many more.
    """

    def __init__(self, dim: int, width: int, positive_weight: float = 40.0) -> None:
        super().__init__()
        self.positive_weight = positive_weight
        self.layers = nn.Sequential(nn.Conv2d(dim + 2, width, 1), nn.ReLU(), nn.Conv2d(width, len(LIGHT_STATES), 1))

    def forward(self, cells: Tensor) -> Tensor:
        """Return logits (B, K, h, w) of `LIGHT_STATES`, of features (B, C, h, w)."""
        rows, _, high, wide = cells.shape
        down = torch.linspace(-1.0, 1.0, high, device=cells.device, dtype=cells.dtype)
        right = torch.linspace(-1.0, 1.0, wide, device=cells.device, dtype=cells.dtype)
        places = torch.stack(torch.meshgrid(down, right, indexing="ij")).expand(rows, -1, -1, -1)
        logits: Tensor = self.layers(in_dtype_of(self.layers, torch.cat([cells, places], dim=1)))
        return logits

    def targets(
        self, heads: Tensor, present: Tensor, state: Tensor, intrinsics: Tensor, poses: Tensor, view: FrontView
    ) -> Tensor:
        """Return what each cell (B, h, w) int64 shows.

        Args:
            heads: (B, N, 3) places of the light's heads in the vehicle's frame [m].
            present: (B, N) bool, which of them are there.
            state: (B,) int64, what it shows.
            intrinsics: (B, 1, 3, 3) of the picture.
            poses: (B, 1, 4, 4) of the camera.
            view: of it.
        """
        high, wide = view.cells.shape[-2:]
        seen = project(torch.where(present[..., None], heads, 0.0), intrinsics, poses)
        row, column = seen.row[:, 0], seen.column[:, 0]
        inside = seen.ahead[:, 0] & present & (row >= 0) & (row < view.size[0])
        inside = inside & (column >= 0) & (column < view.size[1])
        row, column = (torch.where(inside, each, 0.0) for each in (row, column))
        cell = (row * high / view.size[0]).long().clamp(max=high - 1) * wide
        cell = cell + (column * wide / view.size[1]).long().clamp(max=wide - 1)
        shown = torch.where(inside, state[:, None], 0)
        flat = state.new_zeros(len(state), high * wide)
        return flat.scatter_reduce(1, cell, shown, "amax").view(-1, high, wide)

    def terms(self, view: FrontView, valid: Tensor, state: Tensor, target: Tensor, weight: float) -> LossTerms:
        """Return the cross-entropy of all cells as a loss, and the share of right answers as a metric.

        Answers count where no light is near, or a head of it is in the picture.

        Args:
            view: of the camera.
            valid: (B,) bool, whether its picture was there, and the light is known.
            state: (B,) int64, what the light shows.
            target: (B, h, w) int64, what each cell shows.
            weight: of the loss.
        """
        assert view.logits is not None
        logits = view.logits.float()
        loss = F.cross_entropy(logits, target, reduction="none")
        loss = loss * torch.where(target > 0, self.positive_weight, 1.0)
        found = shown_state(logits)
        visible = (target > 0).flatten(1).any(dim=1) | (state == 0)
        return {
            "light_loss": LossTerm(loss, None, valid[:, None, None].expand_as(loss), weight, "mean"),
            "light_accuracy": Metric((found == state).float(), None, valid & visible),
        }


def evidence(logits: Tensor) -> Tensor:
    """Return the largest evidence (B, `NUM_STATES`) of each state over all cells, of logits (B, K, h, w)."""
    return (logits[:, 1:] - logits[:, :1]).flatten(2).amax(dim=2)


def shown_state(logits: Tensor) -> Tensor:
    """Return the most likely state (B,) int64 of the light, 0 for none, of logits (B, K, h, w)."""
    best, state = evidence(logits).max(dim=1)
    return torch.where(best > 0, state + 1, 0)


def light_of(track: Track) -> tuple[Tensor, Tensor]:
    """Return the state (B,) int64 of the stream `LIGHT_KEY` of now, and whether (B,) it is known."""
    value, valid = track.at(0)
    state = torch.where(valid, value[:, 0], 0.0).round().long().clamp(0, NUM_STATES)
    return state, valid
