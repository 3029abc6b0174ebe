"""Sizes and parts of SmolVLA."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.vla.lora_config import LoRAConfig
from tempovla.model.vlm.smolvlm_config import SmolVLMBackboneConfig
from tempovla.timeline.keys import IMAGE_KEY_PREFIX


@dataclass(frozen=True)
class SmolVLAConfig:
    """A SmolVLM, and an action expert beside it; names and defaults as in LeRobot.

    Attributes:
        vlm: the vision-language model.
        cameras: keys of the image streams, in token order.
        robot_state_dim: size of the proprioceptive state, which becomes one token; None reads no state.
        action_dim: number of action dimensions, including the gripper.
        has_gripper: whether the last action dimension is a binary gripper in {-1, +1}.
        chunk_size: number of steps in a chunk of actions.
        max_state_dim: states are padded with zeros to this many dimensions.
        max_action_dim: actions are padded to this many dimensions, for bodies of several sizes. The padding is not
            trained on.
        max_instruction_tokens: number of tokens of the longest instruction. Shorter ones are padded.
        expert_width_multiplier: width of the expert as a multiple of the language model's.
        num_expert_layers: number of layers of the expert, which must divide the number of used layers of the language
            model. None takes that number.
        self_attn_every_n_layers: every n-th layer of the expert, from the first on, attends to its own steps and to the
            language model; the other layers attend to the language model only. With 1 all layers do the former, with 0
            none.
        num_steps: number of Euler steps from noise to actions.
        draws: number of pairs of noise and flow time on which each row is trained; only the expert runs for each of
            them.
        flow_time_alpha: flow times are drawn from Beta(alpha, 1). Above 1, noisy ones are more frequent.
        min_period, max_period: of the sinusoids that a flow time becomes.
        freeze_vision_encoder: do not train the vision transformer. None freezes it if it is pretrained.
        train_expert_only: do not train the rest of the vision-language model either. None freezes it if it is
            pretrained.
        train_state_proj: train the layer that makes a token of the state.
        cloning_weight: weight of a second loss, which regresses the chunk from the read-out of the language model. The
            noise in the loss of flow matching hides small details from an encoder that learns. 0 leaves it out.
        cloning_token_dim, cloning_feature_dim: for this loss, every token is projected to the first number of
            dimensions, and an MLP makes the second number of features of all of them.
        lora: adapters in the language model. Its own weights then do not learn; None adds none.
        context: parts that read the past, whose output is one more token for the expert; None sees the present frame
            only.
        control_fields: the settings that control alone reads; they can be given anew to a trained policy.
    """

    control_fields: ClassVar[tuple[str, ...]] = ("num_steps",)

    vlm: SmolVLMBackboneConfig = field(default_factory=SmolVLMBackboneConfig)
    cameras: tuple[str, ...] = (IMAGE_KEY_PREFIX + "agentview_rgb",)
    robot_state_dim: int | None = None
    action_dim: int = 7
    has_gripper: bool = True
    chunk_size: int = 50
    max_state_dim: int = 32
    max_action_dim: int = 32
    max_instruction_tokens: int = 48
    expert_width_multiplier: float = 0.75
    num_expert_layers: int | None = None
    self_attn_every_n_layers: int = 2
    num_steps: int = 10
    draws: int = 1
    flow_time_alpha: float = 1.5
    min_period: float = 4e-3
    max_period: float = 4.0
    freeze_vision_encoder: bool | None = None
    train_expert_only: bool | None = None
    train_state_proj: bool = True
    cloning_weight: float = 0.0
    cloning_token_dim: int = 32
    cloning_feature_dim: int = 256
    lora: LoRAConfig | None = None
    context: ContextConfig | None = None

    def __post_init__(self) -> None:
        counts = ("robot_state_dim", "action_dim", "chunk_size", "max_state_dim", "max_action_dim", "num_expert_layers")
        sizes = ("max_instruction_tokens", "num_steps", "draws", "cloning_token_dim", "cloning_feature_dim")
        for name in (*counts, *sizes):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"model.{name}={value} must be at least 1")
        if self.context is not None and self.context.retrieval is not None:
            raise ValueError(
                "model.context.retrieval: what SmolVLA reads of a frame is too large to keep of earlier episodes; "
                "leave it out, or train a vla or a statevla"
            )
        if self.context is not None and self.context.freeze_base:
            raise ValueError(
                "model.context.freeze_base=true: SmolVLA's features of a frame are too large to keep; set it to "
                "false, and model.train_expert_only to true, which keeps the vision-language model as it is"
            )
        for name in ("expert_width_multiplier", "flow_time_alpha", "min_period", "max_period"):
            if not getattr(self, name) > 0:
                raise ValueError(f"model.{name}={getattr(self, name)} must be greater than 0")
        for name in ("self_attn_every_n_layers", "cloning_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"model.{name}={getattr(self, name)} must not be negative")
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"model.cameras={list(self.cameras)} must name at least one camera, and none twice")
        for name, limit in (("robot_state_dim", "max_state_dim"), ("action_dim", "max_action_dim")):
            value = getattr(self, name)
            if value is not None and value > getattr(self, limit):
                raise ValueError(f"model.{name}={value} is more than model.{limit}={getattr(self, limit)}; raise that")
