"""The recipe of a fine-tuning run of OpenVLA: data, transforms, model and training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tempovla.model.vla.lora_config import LoRAConfig
from tempovla.recipe.datasets.config import DataConfig, ObservationConfig
from tempovla.recipe.settings.system import System
from tempovla.recipe.systems.vla_config import VLATraining
from tempovla.timeline.keys import IMAGE_KEY_PREFIX
from tempovla.transform.scaling import NormalizationMode


@dataclass(frozen=True)
class OpenVLATransformConfig(ObservationConfig):
    """Preprocessing of observations and actions.

    Attributes:
        action_normalization: normalisation of the actions. As published, the 1st to 99th percentile become [-1, 1], and
            values beyond get the outermost word.
        tokenizer: name or folder of a transformers tokenizer; None takes the one beside the pretrained weights.
        max_prompt_tokens: number of tokens of the longest prompt with its instruction. Shorter ones are padded.
        gripper_open: value that opens the robot's gripper, -1 (LIBERO, Meta-World) or 1. The model then learns the
            published words for it, 1 open and 0 closed. None leaves the gripper as it was recorded.
        crop_area: share of the picture's area, around its middle, that the model sees. The authors' LIBERO checkpoints
            were trained on random crops and are evaluated with 0.9.
    """

    action_normalization: NormalizationMode = "quantile"
    tokenizer: str | None = None
    max_prompt_tokens: int = 64
    gripper_open: float | None = None
    crop_area: float = 1.0

    def __post_init__(self) -> None:
        if self.max_prompt_tokens < 1:
            raise ValueError(f"transform.max_prompt_tokens={self.max_prompt_tokens} must be at least 1")
        if not 0 < self.crop_area <= 1:
            raise ValueError(f"transform.crop_area={self.crop_area} must lie in (0, 1]")
        if self.gripper_open not in (None, -1.0, 1.0):
            raise ValueError(f"transform.gripper_open={self.gripper_open} is neither -1 nor 1; give one, or null")


@dataclass(frozen=True)
class OpenVLAModelConfig:
    """Initial weights, streams and adapters of the run. The sizes are those of the checkpoint.

    Attributes:
        pretrained: name on the hub, such as openvla/openvla-7b, or folder of a checkpoint in the published layout.
        cameras: key of the one image stream that the model sees.
        action_dim: number of action dimensions, including the gripper. Each dimension is one word.
        has_gripper: the last action dimension is a binary gripper in {-1, +1}, which is not normalised.
        dtype: type of the pretrained weights. None takes bfloat16 with adapters, and float32 if all weights learn,
            because bfloat16 would lose the small steps of fine-tuning.
        lora: adapters beside all linear layers. Only the adapters learn; with None all weights learn.
    """

    pretrained: str = ""
    cameras: tuple[str, ...] = (IMAGE_KEY_PREFIX + "front",)
    action_dim: int = 7
    has_gripper: bool = True
    dtype: Literal["bfloat16", "float32"] | None = None
    lora: LoRAConfig | None = field(default_factory=lambda: LoRAConfig(r=32, alpha=16.0))

    def __post_init__(self) -> None:
        if len(self.cameras) != 1:
            raise ValueError(f"model.cameras={list(self.cameras)}: OpenVLA sees one picture; name one camera")
        if self.action_dim < 1:
            raise ValueError(f"model.action_dim={self.action_dim} must be at least 1")

    @property
    def robot_state_dim(self) -> None:
        """None: the robot's state is not read."""
        return None


@dataclass(frozen=True)
class OpenVLARecipe:
    """All settings of a fine-tuning run.

    Attributes:
        data: the demonstrations.
        transform: preprocessing of the demonstrations.
        model: initial weights and streams of the model.
        training: settings of the training.
    """

    data: DataConfig = field(default_factory=DataConfig)
    transform: OpenVLATransformConfig = field(default_factory=OpenVLATransformConfig)
    model: OpenVLAModelConfig = field(default_factory=OpenVLAModelConfig)
    training: VLATraining = field(default_factory=VLATraining)

    def __post_init__(self) -> None:
        if self.transform.gripper_open is not None and not self.model.has_gripper:
            raise ValueError(
                f"transform.gripper_open={self.transform.gripper_open} needs a gripper; set model.has_gripper=true"
            )


SYSTEM = System(
    recipe=OpenVLARecipe,
    train="tempovla.recipe.systems.openvla:train_openvla",
    out="checkpoints/openvla",
    examples="""
tempovla train openvla --config configs/openvla_lora.yaml --dataset outputs/libero --out outputs/openvla \\
    --pretrained openvla/openvla-7b
tempovla train openvla --config configs/openvla_lora.yaml --dataset outputs/libero --out outputs/openvla \\
    --pretrained checkpoints/openvla-7b --model.lora.r 8 --checkpoint outputs/openvla/checkpoint_latest
tempovla train openvla --config configs/openvla_lora.yaml --batch_size 8 --print_config > mine.yaml
""",
)
