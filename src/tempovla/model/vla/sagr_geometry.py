"""Where things are, as tokens beside those of the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tempovla.model.fusion.gated import GatedFusion
from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.sensor.calibrations import ViewCameras, view_cameras
from tempovla.model.sensor.config import GeometryConfig
from tempovla.model.sensor.geometry import build_geometry
from tempovla.timeline import Embodiment, Task, Track


class GeometryBranch(nn.Module):
    """A geometry encoder, and the gates through which its tokens come in; with closed gates nothing changes.

    Args:
        config: of the encoder.
        cameras: keys of the pictures.
        depths: keys of the depth of each, in the same order; empty where none is read.
        dim: width H of the tokens of pictures.
        num_heads: attention heads of the fusion.

    Attributes:
        fixed: calibrations (1, V, ...) of all rows, whatever their bodies have; None takes those of the bodies.
    """

    fixed: ViewCameras | None = None

    def __init__(
        self, config: GeometryConfig, cameras: Sequence[str], depths: Sequence[str], dim: int, num_heads: int
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(
                f"model.geometry_heads={num_heads} does not divide the width {dim} of the language model; choose one "
                "that does"
            )
        self.cameras, self.depths = tuple(cameras), tuple(depths)
        self.encoder = build_geometry(config)
        self.fusion = GatedFusion(dim, self.encoder.output_dim, num_heads)
        self.project = nn.Linear(self.encoder.output_dim, dim)

    def forward(
        self, pictures: Tensor, seen: Tensor, tracks: Mapping[str, Track], offset: int, tasks: Sequence[Task]
    ) -> tuple[Tensor, Tensor]:
        """Return geometry tokens (B, M, D_g), and which of them count (B, M) bool.

        Args:
            pictures: (B, V, 3, S, S) uint8.
            seen: (B, V) bool.
            tracks: hold the depth.
            offset: of the frame.
            tasks: of the rows, whose bodies hold the calibrations.

        Raises:
            ValueError: if a calibration is missing that the encoder needs.
        """
        depth = None
        if self.depths:
            columns = [tracks[key].at(offset) for key in self.depths]
            depth, measured = (torch.stack(column, dim=1) for column in zip(*columns, strict=True))
            seen = seen & measured
            depth = torch.where(measured[:, :, None, None, None], depth, 0.0)
        size = (pictures.shape[-2], pictures.shape[-1])
        if self.fixed is None:
            cameras = self._cameras(tasks, size, pictures.device)
        else:
            cameras = self.fixed.expand(pictures.shape[0])
        images = pictures.float() / 255.0
        found = self.encoder.encode(
            images, seen, intrinsics=cameras.intrinsics, extrinsics=cameras.extrinsics, depth=depth
        )
        return found.flat()

    def fix(self, body: Embodiment, size: tuple[int, int]) -> None:
        """Take the calibrations of one body from now on, for pictures of this height and width [px].

        Raises:
            ValueError: if one is missing that the encoder needs.
        """
        self.fixed = self._cameras([Task("", body)], size, torch.device("cpu"))

    def check(self, body: Embodiment) -> None:
        """Refuse a body that lacks a calibration.

        Raises:
            ValueError: if one is missing that the encoder needs, as when its pictures come.
        """
        self._cameras([Task("", body)], (1, 1), torch.device("cpu"))

    def _cameras(self, tasks: Sequence[Task], size: tuple[int, int], device: torch.device) -> ViewCameras:
        needs = {
            "needs_intrinsics": self.encoder.needs_intrinsics,
            "needs_extrinsics": self.encoder.needs_extrinsics,
        }
        return view_cameras(tasks, self.depths or self.cameras, size, device=device, **needs)

    def fuse(self, vision: Tensor, geometry: Tensor, valid: Tensor) -> Tensor:
        """Return the tokens of pictures (B, P, H), with what they find in the geometry behind the gate."""
        fused: Tensor = self.fusion(vision, geometry, valid)
        return fused

    def as_context(self, geometry: Tensor) -> Tensor:
        """Return geometry tokens (B, M, D_g) in the width H of pictures."""
        projected: Tensor = self.project(in_dtype_of(self.project, geometry))
        return projected
