"""PointNet: a network over each point of a set, and the largest values over the set."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tempovla.model.layers.dtype import in_dtype_of, sums_dtype


def point_mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Return linear layers of the given sizes, each followed by LayerNorm and ReLU.

    LayerNorm looks at one point only, so that padding changes no statistics.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def masked_max(values: Tensor, valid: Tensor, dim: int) -> Tensor:
    """Return the largest values over a dimension where `valid` is True; 0 where it is so nowhere.

    Args:
        values: (..., N, C) with the points at `dim`.
        valid: (..., N) bool.
        dim: which dimension of both holds the points, counted from the front.
    """
    lowest = torch.finfo(values.dtype).min
    most = torch.where(valid[..., None], values, lowest).amax(dim=dim)
    return torch.where(valid.any(dim=dim)[..., None], most, 0.0)


class PointNet(nn.Module):
    """The largest values of a network over a set of points (Qi et al., 2017).

    Args:
        sizes: of the points' features, the hidden layers and the output.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.mlp = point_mlp(sizes)
        self.output_dim = sizes[-1]

    def forward(self, points: Tensor, valid: Tensor) -> Tensor:
        """Return (..., C) from points (..., N, F), of which those that are not valid (..., N) are passed over."""
        points = torch.where(valid[..., None], points, 0.0)
        return masked_max(self.mlp(in_dtype_of(self.mlp, points)), valid, dim=valid.dim() - 1)


def present(points: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return points in float32 or better with 0 where they are not there, and where (B, N) bool they are.

    Without any place for a point, there is one that no point is in.

    Args:
        points: (B, N, F); a point with a number that is not finite is not there.
        valid: (B, N) bool; None where all are valid.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if points.dim() != 3 or (valid is not None and valid.shape != points.shape[:2]):
        shape = None if valid is None else tuple(valid.shape)
        raise ValueError(f"points {tuple(points.shape)} and valid {shape}: give (B, N, F) and (B, N) bool")
    points = points.to(sums_dtype(points.dtype))
    there = points.isfinite().all(dim=-1)
    there = there if valid is None else there & valid
    if not points.shape[1]:  # one place at least, so that there is a largest value
        points, there = nn.functional.pad(points, (0, 0, 0, 1)), nn.functional.pad(there, (0, 1))
    return torch.where(there[..., None], points, 0.0), there
