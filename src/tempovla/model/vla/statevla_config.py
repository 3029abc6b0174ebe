"""Sizes and parts of StateVLA. The defaults are the original model's on LIBERO."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from tempovla.model.temporal.context_config import ContextConfig
from tempovla.timeline.keys import IMAGE_KEY_PREFIX


@dataclass(frozen=True)
class JepaConfig:
    """Losses and targets of phase 1. The defaults are the original recipe.

    Attributes:
        prediction_horizon: steps k from z_t to the predicted z_{t+k}; the predictor sees the k actions in between.
        temporal_predictor_hidden_dim: width of the predictor.
        regularize: whether variance and covariance act on the `prediction` (the original recipe) or on the `state` z_t.
        variance_weight: weight of the loss that keeps every dimension's standard deviation above 1.
        covariance_weight: weight of the loss that keeps dimensions uncorrelated.
        inverse_dynamics_weight: weight of the loss that recovers the actions from z_t and z_{t+k}; 0 leaves it out.
        behavior_cloning_weight: weight of the loss that regresses the chunk of actions from z_t; 0 leaves it out.
        ema_momentum: momentum of the target encoder at the start.
        ema_momentum_schedule: `cosine` lets the momentum rise to 1.0 over `ema_steps`; `constant` keeps it.
        ema_steps: number of training steps of phase 1, which the recipe fills in.
    """

    prediction_horizon: int = 1
    temporal_predictor_hidden_dim: int = 512
    regularize: Literal["prediction", "state"] = "prediction"
    variance_weight: float = 1.0
    covariance_weight: float = 0.04
    inverse_dynamics_weight: float = 0.0
    behavior_cloning_weight: float = 0.0
    ema_momentum: float = 0.996
    ema_momentum_schedule: Literal["cosine", "constant"] = "cosine"
    ema_steps: int = 1

    def __post_init__(self) -> None:
        for name in ("prediction_horizon", "temporal_predictor_hidden_dim", "ema_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"jepa.{name}={getattr(self, name)} must be at least 1")
        for name in ("variance", "covariance", "inverse_dynamics", "behavior_cloning"):
            if getattr(self, f"{name}_weight") < 0:
                raise ValueError(f"jepa.{name}_weight={getattr(self, f'{name}_weight')} must not be negative")
        if not 0 <= self.ema_momentum <= 1:
            raise ValueError(f"jepa.ema_momentum={self.ema_momentum} must lie in [0, 1]")


@dataclass(frozen=True)
class StateVLAConfig:
    """Sizes of StateVLA. The defaults are the original model's on LIBERO.

    Attributes:
        cameras: keys of the image streams, in token order.
        image_size: side of the square pictures [px].
        patch_size: side of the patch behind one token [px].
        image_tokenizer: `patch` (one convolution), `conv` (a small stack of them) or `pretrained` (`vision_model`).
        vision_model: name or folder of a frozen transformers vision model whose patch tokens are used. It has its own
            patch size, and pictures are resized to its own size.
        embed_dim: width of a token.
        lang_emb_dim: size of the sentence embedding.
        robot_state_dim: size of the proprioceptive state.
        encoder_type: `mamba` or `transformer`.
        encoder_depth: number of layers of the encoder.
        num_heads: number of attention heads of transformers.
        d_state, d_conv, expand: Mamba's state size, convolution width and expansion.
        readout: `cls` (the last token) or `all_tokens`.
        state_dim: size of z.
        action_dim: number of action dimensions, including the gripper.
        has_gripper: whether the last action dimension is a binary gripper in {-1, +1}.
        action_seq_len: number of steps in a chunk of actions.
        policy_type: backbone of the flow, `mamba` or `transformer`.
        policy_layers: number of layers of the flow.
        policy_embed_dim: width of the flow.
        flow_steps: number of Euler steps when the policy acts.
        flow_draws: number of noise draws for each state in training. More of them make better use of an expensive
            encoder.
        freeze_encoder: whether phase 2 leaves the encoder as phase 1 made it.
        cloning_weight: weight of a second loss of phase 2, which regresses the chunk from z and needs a trainable
            encoder. The noise in the loss of the flow hides small details from the encoder. 0 leaves it out.
        jepa: losses and targets of phase 1.
        context: parts that read the past in phase 2; None sees the present frame only.
        control_fields: the settings that control alone reads; they can be given anew to a trained policy.
    """

    control_fields: ClassVar[tuple[str, ...]] = ("flow_steps",)

    cameras: tuple[str, ...] = (IMAGE_KEY_PREFIX + "agentview_rgb", IMAGE_KEY_PREFIX + "eye_in_hand_rgb")
    image_size: int = 224
    patch_size: int = 16
    image_tokenizer: Literal["patch", "conv", "pretrained"] = "patch"
    vision_model: str | None = None
    embed_dim: int = 256
    lang_emb_dim: int = 512
    robot_state_dim: int = 9
    encoder_type: Literal["mamba", "transformer"] = "mamba"
    encoder_depth: int = 12
    num_heads: int = 8
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    readout: Literal["cls", "all_tokens"] = "cls"
    state_dim: int = 256
    action_dim: int = 7
    has_gripper: bool = True
    action_seq_len: int = 10
    policy_type: Literal["mamba", "transformer"] = "mamba"
    policy_layers: int = 3
    policy_embed_dim: int = 256
    flow_steps: int = 4
    flow_draws: int = 1
    freeze_encoder: bool = True
    cloning_weight: float = 0.0
    jepa: JepaConfig = field(default_factory=JepaConfig)
    context: ContextConfig | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise ValueError(f"model.{name}={value} must be at least 1")
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"model.cameras={list(self.cameras)} must name at least one camera, and none twice")
        if self.pose_dim < 1:
            raise ValueError(f"model.action_dim={self.action_dim} leaves nothing beside the gripper; raise it")
        if self.cloning_weight < 0:
            raise ValueError(f"model.cloning_weight={self.cloning_weight} must not be negative")

    @property
    def pose_dim(self) -> int:
        """Continuous dimensions of an action."""
        return self.action_dim - int(self.has_gripper)
