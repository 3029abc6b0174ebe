"""Sizes and parts of SmolVLA."""

from __future__ import annotations

from dataclasses import dataclass, field

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
        robot_state_dim: size of the proprioceptive state, which becomes one token; None leaves it out.
        action_dim: size of an action, gripper included.
        has_gripper: the last action dimension is a binary gripper in {-1, +1}.
        chunk_size: steps of an action chunk.
        max_state_dim: states are padded with zeros to so many dimensions.
        max_action_dim: actions, too, for bodies of several sizes; what is beyond them is not trained on.
        max_instruction_tokens: tokens of the longest instruction; shorter ones are padded.
        expert_width_multiplier: width of the expert as a multiple of the language model's.
        num_expert_layers: layers of the expert, which must divide those of the language model that are used; None has
            as many.
        self_attn_every_n_layers: every n-th layer of the expert, from the first on, attends to its own steps beside the
            tokens of the language model; the others attend to these alone. 1 has no other layers, 0 none of this kind.
        num_steps: Euler steps from noise to actions.
        draws: (noise, flow time) pairs to train on for every row of a batch, at the cost of the expert alone.
        flow_time_alpha: flow times are drawn from Beta(alpha, 1); above 1 noisy ones are more frequent.
        min_period, max_period: of the sinusoids that a flow time becomes.
        freeze_vision_encoder: the vision transformer does not learn.
        train_expert_only: nor does anything else of the vision-language model. None of these two: what is pretrained
            does not, what is not does.
        train_state_proj: the layer that makes a token of the state learns.
        cloning_weight: the chunk is also regressed from what the language model reads out: the noise in flow matching's
            own loss hides from an encoder that learns where small things are. 0 leaves the part out.
        cloning_token_dim, cloning_feature_dim: for that, every token is narrowed to so many dimensions, and all of them
            together go through an MLP of so many.
        lora: adapters in the language model, whose own weights then do not learn; None has none.
        context: its temporal parts, whose output is one more token for the expert; None sees the present alone.
    """

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
        if self.context is not None and self.context.freeze_base:
            raise ValueError(
                "model.context.freeze_base=true: what SmolVLA reads of a frame is too large to keep; set it to false, "
                "and model.train_expert_only to true, which keeps the vision-language model as it is"
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
