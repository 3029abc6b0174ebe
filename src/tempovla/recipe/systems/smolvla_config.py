"""The recipe of a SmolVLA run: data, transforms, model and training."""

from __future__ import annotations

from dataclasses import dataclass, field

from tempovla.model.vla.smolvla_config import SmolVLAConfig
from tempovla.recipe.datasets.config import DataConfig
from tempovla.recipe.settings.system import Option, System
from tempovla.recipe.systems.vla_config import VLATraining, VLATransformConfig


@dataclass(frozen=True)
class SmolVLARecipe:
    """All settings of a SmolVLA run.

    Attributes:
        data: the demonstrations.
        transform: preprocessing of the demonstrations.
        model: parts and sizes of the model.
        training: settings of the training.
    """

    data: DataConfig = field(default_factory=DataConfig)
    transform: VLATransformConfig = field(default_factory=VLATransformConfig)
    model: SmolVLAConfig = field(default_factory=SmolVLAConfig)
    training: VLATraining = field(default_factory=VLATraining)


SYSTEM = System(
    recipe=SmolVLARecipe,
    train="tempovla.recipe.systems.smolvla:train_smolvla",
    out="checkpoints/smolvla",
    options=(Option("pretrained_policy", "SmolVLA to start from, by name or folder", metavar="NAME"),),
    examples="""
tempovla train smolvla --config configs/smolvla_metaworld.yaml --dataset outputs/data --out outputs/smolvla
tempovla train smolvla --config configs/smolvla_metaworld.yaml --dataset outputs/data --out outputs/smolvla \\
    --checkpoint outputs/smolvla/checkpoint_latest
tempovla train smolvla --dataset outputs/data --out outputs/smolvla --pretrained-policy lerobot/smolvla_base \\
    --model.cameras '[observation.images.front]' --model.robot_state_dim 6 --model.action_dim 6 \\
    --model.has_gripper false --train_steps 20000
""",
)
