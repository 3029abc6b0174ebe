"""Fusion in two stages: ranging sensors to a scene, and the scene with vision."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tempovla.model.fusion.cross_modal import (
    CrossModalFusion,
    CrossModalLayers,
    FusedTokens,
    Tokens,
    sets_by_name,
    token_masks,
)
from tempovla.model.fusion.modality_dropout import checked_rate

SENSORS = ("vision", "lidar", "radar")
"""Modalities, in the order in which token sets are given without names."""


class HierarchicalFusion(nn.Module):
    """Fusion of LiDAR and radar to the tokens of a 3-D scene, and of these with vision.

    Args:
        feature_dim: width D of all tokens.
        num_heads: attention heads.
        num_layers: of each stage.
        modality_dropout: share of the rows in training in which a modality is left out, for each; one is always left.
    """

    def __init__(
        self, feature_dim: int, num_heads: int = 8, num_layers: int = 1, modality_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.modality_dropout = checked_rate(modality_dropout)
        self.ranging = CrossModalLayers(feature_dim, num_heads, ("lidar", "radar"), num_layers)
        self.whole = CrossModalFusion(feature_dim, num_heads, ("vision", "scene"), num_layers)

    def forward(
        self,
        *given: Tensor | Tokens | None,
        valid: Mapping[str, Tensor] | None = None,
        seed: Tensor | None = None,
        **named: Tensor | None,
    ) -> FusedTokens:
        """Return the tokens of `vision` and `scene`, and what a query finds in both.

        Args:
            given: token sets (B, L_m, D) of vision, lidar and radar, or one dict of them by name; None where a
                modality is absent.
            valid: (B, L_m) bool of each modality, which of its tokens are there; all of one that is not named. What
                the others hold changes nothing.
            seed: (B,) int64 seeds of the rows, which modality dropout in training needs.
            named: token sets by name.

        Raises:
            ValueError: if no modality is given, one is unknown, or shapes do not fit.
        """
        sets = sets_by_name(SENSORS, given, named)
        masks = token_masks(
            sets, self.ranging.kinds.shape[1], valid, self.modality_dropout if self.training else 0.0, seed
        )
        ranging = {name: each for name, each in sets.items() if name != "vision"}
        scene = None
        if ranging:
            there = {name: masks.pop(name) for name in ranging}
            scene = torch.cat(list(self.ranging.mixed(ranging, there).values()), dim=1)
            masks["scene"] = torch.cat(list(there.values()), dim=1)
        return self.whole(vision=sets.get("vision"), scene=scene, valid=masks)
