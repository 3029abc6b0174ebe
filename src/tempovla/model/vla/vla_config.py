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
        vlm: vision encoder, projector, language model and read-out. `num_cameras` follows from `cameras`.
        token_dim: project every token of the read-out to this many dimensions, and put all of them together through an
            MLP, which keeps positions. None gives the tokens to the head as they are.
        feature_dim: number of features that this MLP gives to the head.
        max_instruction_tokens: number of tokens of the longest instruction. Shorter ones are padded.
        action_head: name of the action head, from `ACTION_HEAD_REGISTRY`.
        action_head_options: options of action heads, by the name of the head. Only those of `action_head` are used.
        cameras: keys of the image streams, in token order.
        optional_cameras: cameras that some bodies lack. A row without such a picture still takes part in the loss.
        robot_state_dim: size of the proprioceptive state, which becomes one token; None reads no state.
        reads_dims: also read which dimensions of state and action the body has. A policy for bodies of several sizes
            needs this.
        action_dim: number of action dimensions, including the gripper.
        has_gripper: whether the last action dimension is a binary gripper in {-1, +1}.
        action_horizon: number of steps in a chunk of actions.
        cloning_weight: weight of a second loss, which regresses the chunk from the features. The noise in the loss of a
            generative head hides small details from the encoder. 0 leaves it out.
        lambda_temporal: weight of the squared first differences of the predicted chunk, which keep it smooth. It needs
            `cloning_weight` or the head mlp, whose chunk it applies to.
        lora: adapters in the language model. Its own weights then do not learn. With None the whole language model
            learns.
        context: parts that read the past; None sees the present frame only.
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
        if self.vlm.readout == "layers":
            raise ValueError(
                "model.vlm.readout=layers is for policies that read the language model layer by layer (sagr); choose "
                "queries, last, mean or all_tokens"
            )
        if self.reads_dims and self.robot_state_dim is None:
            raise ValueError("model.reads_dims=true needs the robot's state; set model.robot_state_dim")
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
                f"model.lambda_temporal={self.lambda_temporal} needs a predicted chunk, which {self.action_head!r} "
                "does not make in training; set model.cloning_weight, or model.action_head=mlp"
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
