"""Geometry as the hidden features of a pretrained vision model."""

from __future__ import annotations

import torch
from torch import Tensor

from tempovla.model.sensor.config import LatentGeometryConfig
from tempovla.model.sensor.geometry import GeometryEncoder, GeometryFeatures
from tempovla.model.vlm.vision_encoder import VisionEncoder


class LatentGeometry(GeometryEncoder):
    """Patch tokens of a vision model that knows geometry, such as DINOv2 or the encoder of a reconstruction model.

    These features are in no frame and have no scale.

    Args:
        config: its options.

    Raises:
        ValueError: if the model does not load.
    """

    def __init__(self, config: LatentGeometryConfig) -> None:
        super().__init__()
        self.vision = VisionEncoder(config.vision)
        self.output_dim = self.vision.hidden_dim

    def tokens(
        self,
        images: Tensor,
        view_mask: Tensor,
        *,
        intrinsics: Tensor | None,
        extrinsics: Tensor | None,
        depth: Tensor | None,
        points: Tensor | None,
    ) -> GeometryFeatures:
        """Return the model's tokens of the pictures alone."""
        seen = torch.where(view_mask[..., None, None, None], images, 0.0)
        features = self.vision(seen).float()
        token_mask = view_mask[..., None].expand(features.shape[:3])
        return GeometryFeatures(torch.where(token_mask[..., None], features, 0.0), token_mask)
