"""What a SmolVLA run is made of: data, transforms, model and training, as one config."""

from __future__ import annotations

from dataclasses import dataclass, field

from tempovla.model.vla.smolvla_config import SmolVLAConfig
from tempovla.recipe.datasets.config import DataConfig
from tempovla.recipe.systems.vla_config import VLATraining, VLATransformConfig


@dataclass(frozen=True)
class SmolVLARecipe:
    """All that a SmolVLA run is made of.

    Attributes:
        data: where demonstrations come from.
        transform: what happens to them before the model sees them.
        model: its parts and sizes.
        training: how it is trained.
    """

    data: DataConfig = field(default_factory=DataConfig)
    transform: VLATransformConfig = field(default_factory=VLATransformConfig)
    model: SmolVLAConfig = field(default_factory=SmolVLAConfig)
    training: VLATraining = field(default_factory=VLATraining)
