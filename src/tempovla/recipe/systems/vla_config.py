"""The recipe of a VLA run: data, transforms, model and training."""

from __future__ import annotations

from dataclasses import dataclass, field

from tempovla.model.vla.vla_config import VLAConfig
from tempovla.recipe.datasets.config import DataConfig, ObservationConfig
from tempovla.recipe.settings.system import Option, System
from tempovla.training.config import TrainConfig


@dataclass(frozen=True)
class VLATransformConfig(ObservationConfig):
    """Preprocessing of observations and actions.

    Attributes:
        tokenizer: name or folder of a transformers tokenizer, or `words` for hashed words. None takes the tokenizer of
            a pretrained language model, and hashed words for a language model from scratch.
    """

    tokenizer: str | None = None


@dataclass(frozen=True)
class VLATraining(TrainConfig):
    """Training by behaviour cloning.

    Attributes:
        recompute_activations: keep only one array for each layer for the backward pass and compute the others again
            (gradient checkpointing). The result is the same, with a fraction of the memory and about a third more time.
    """

    recompute_activations: bool = False


@dataclass(frozen=True)
class VLARecipe:
    """All settings of a VLA run.

    Attributes:
        data: the demonstrations.
        transform: preprocessing of the demonstrations.
        model: parts and sizes of the model.
        training: settings of the training.
    """

    data: DataConfig = field(default_factory=DataConfig)
    transform: VLATransformConfig = field(default_factory=VLATransformConfig)
    model: VLAConfig = field(default_factory=VLAConfig)
    training: VLATraining = field(default_factory=VLATraining)


SYSTEM = System(
    recipe=VLARecipe,
    train="tempovla.recipe.systems.vla:train_vla",
    out="checkpoints/vla",
    options=(
        Option("pretrained_vlm", "checkpoint or folder with the vision-language model from which the run starts"),
        Option(
            "base_checkpoint",
            "trained VLA from which the run starts: all parts that see one frame, with the action head",
            metavar="CKPT",
        ),
    ),
    parser="tempovla.recipe.systems.temporal_flags:TemporalParser",
    examples="""
tempovla train vla --config configs/vla_metaworld.yaml --dataset outputs/data --out outputs/vla
tempovla train vla --config configs/vla_metaworld.yaml --dataset outputs/data --out outputs/vla_mlp \\
    --model.action_head mlp
tempovla train vla --config configs/vla_metaworld.yaml --dataset outputs/data --out outputs/vla \\
    --checkpoint outputs/vla/checkpoint_latest
tempovla train vla --config configs/temporal_vla.yaml --dataset outputs/data --out outputs/temporal_vla \\
    --base-checkpoint outputs/vla/checkpoint_latest
tempovla train vla --config configs/vla_metaworld.yaml --dataset outputs/data --out outputs/lstm_vla \\
    --use-temporal-encoder --temporal-encoder-type lstm --sequence-length 16
tempovla train vla --config configs/vla_metaworld.yaml --batch_size 32 --print_config > mine.yaml
""",
)
