"""What a VLA run is made of: data, transforms, model and training, as one config."""

from __future__ import annotations

from dataclasses import dataclass, field

from tempovla.model.vla.vla_config import VLAConfig
from tempovla.recipe.datasets.config import DataConfig, ObservationConfig
from tempovla.train.config import TrainConfig


@dataclass(frozen=True)
class VLATransformConfig(ObservationConfig):
    """What happens to observations and actions before the model sees them.

    Attributes:
        tokenizer: name or folder of a transformers tokenizer, or `words` for hashed words; None takes that of a
            pretrained language model, and hashed words for one from scratch.
    """

    tokenizer: str | None = None


@dataclass(frozen=True)
class VLATraining(TrainConfig):
    """Training by behaviour cloning.

    Attributes:
        recompute_activations: keep one array a layer for the backward pass and compute the others again (gradient
            checkpointing): the same result with a fraction of the memory, for about a third more time.
    """

    recompute_activations: bool = False


@dataclass(frozen=True)
class VLARecipe:
    """All that a VLA run is made of.

    Attributes:
        data: where demonstrations come from.
        transform: what happens to them before the model sees them.
        model: its parts and sizes.
        training: how it is trained.
    """

    data: DataConfig = field(default_factory=DataConfig)
    transform: VLATransformConfig = field(default_factory=VLATransformConfig)
    model: VLAConfig = field(default_factory=VLAConfig)
    training: VLATraining = field(default_factory=VLATraining)
