"""Sizes and parts of a VLA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from tempovla.model.action_head.registry import ACTION_HEAD_REGISTRY
from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.vla.lora_config import LoRAConfig
from tempovla.model.vlm.config import LLMBackboneConfig, VisionEncoderConfig, VLMConfig
from tempovla.timeline.keys import IMAGE_KEY_PREFIX


@dataclass(frozen=True)
class VLAConfig:
    """A vision-language model, and an action head on its features.

    Attributes:
        vlm: vision encoder, projector, language model and what is read of it; `num_cameras` follows from `cameras`.
        token_dim: every token that is read is narrowed to so many dimensions, and all of them together go through an
            MLP, which keeps where things are; None gives the tokens to the head as they are.
        feature_dim: width of what that MLP gives the head.
        max_instruction_tokens: tokens of the longest instruction; shorter ones are padded.
        action_head: a name in `ACTION_HEAD_REGISTRY`.
        action_head_options: what heads take beside their sizes, by the head's name and the option's; those of heads
            other than `action_head` wait until they are chosen.
        cameras: keys of the image streams, in token order.
        optional_cameras: those that some bodies do not have: a row without their picture is learned from all the same.
        robot_state_dim: size of the proprioceptive state, which becomes one token; None leaves it out.
        reads_dims: with the state, it is read which of its dimensions and of the action's are the body's own, as one
            policy needs that moves bodies of several sizes.
        action_dim: size of an action, gripper included.
        has_gripper: the last action dimension is a binary gripper in {-1, +1}.
        action_horizon: steps of an action chunk.
        cloning_weight: the action chunk is also regressed from the features: the noise in a generative head's own loss
            hides from the encoder where small things are. 0 leaves the part out.
        lambda_temporal: weight of the squared first differences of the predicted chunk, which keep it smooth: of what
            `cloning_weight` regresses, or of the chunk of the mlp head.
        lora: adapters in the language model, whose own weights then do not learn; None has it learn as a whole.
        context: its temporal parts; None sees the present alone.
    """

    vlm: VLMConfig = field(default_factory=VLMConfig)
    token_dim: int | None = None
    feature_dim: int = 256
    max_instruction_tokens: int = 32
    action_head: str = "mlp"
    action_head_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cameras: tuple[str, ...] = (IMAGE_KEY_PREFIX + "agentview_rgb",)
    optional_cameras: tuple[str, ...] = ()
    robot_state_dim: int | None = None
    reads_dims: bool = False
    action_dim: int = 7
    has_gripper: bool = True
    action_horizon: int = 16
    cloning_weight: float = 0.0
    lambda_temporal: float = 0.0
    lora: LoRAConfig | None = None
    context: ContextConfig | None = None

    def __post_init__(self) -> None:
        for name in (
            "token_dim",
            "feature_dim",
            "max_instruction_tokens",
            "robot_state_dim",
            "action_dim",
            "action_horizon",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"model.{name}={value} must be at least 1")
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"model.cameras={list(self.cameras)} must name at least one camera, and none twice")
        unknown = [camera for camera in self.optional_cameras if camera not in self.cameras]
        if unknown:
            raise ValueError(f"model.optional_cameras={unknown} are not among model.cameras={list(self.cameras)}")
        if self.reads_dims and self.robot_state_dim is None:
            raise ValueError("model.reads_dims=true goes with the robot's state; set model.robot_state_dim")
        for name in self.action_head_options:
            if name not in ACTION_HEAD_REGISTRY:
                known = sorted(ACTION_HEAD_REGISTRY)
                raise ValueError(f"model.action_head_options.{name}: no such action head; choose from {known}")
        options = self.action_head_options.get(self.action_head)
        if options and self.action_head in ACTION_HEAD_REGISTRY:
            ACTION_HEAD_REGISTRY[self.action_head].check_options(options)
        for name in ("cloning_weight", "lambda_temporal"):
            if getattr(self, name) < 0:
                raise ValueError(f"model.{name}={getattr(self, name)} must not be negative")
        if self.lambda_temporal and not self.cloning_weight and self.action_head != "mlp":
            raise ValueError(
                f"model.lambda_temporal={self.lambda_temporal} needs a predicted chunk, which {self.action_head!r} has "
                "not in training; set model.cloning_weight, or model.action_head=mlp"
            )

    @classmethod
    def of(
        cls,
        vision_model_name: str = VisionEncoderConfig.model_name,
        llm_model_name: str = LLMBackboneConfig.model_name,
        projector: str = VLMConfig.projector,
        **fields: Any,
    ) -> Self:
        """Return a config by the names of its parts.

        Args:
            vision_model_name: see `VisionEncoderConfig.model_name`.
            llm_model_name: see `LLMBackboneConfig.model_name`.
            projector: name in `PROJECTOR_REGISTRY`.
            fields: of this config.
        """
        vlm = fields.pop("vlm", VLMConfig())
        vision = replace(vlm.vision, model_name=vision_model_name)
        language = replace(vlm.language, model_name=llm_model_name)
        return cls(vlm=replace(vlm, vision=vision, language=language, projector=projector), **fields)
