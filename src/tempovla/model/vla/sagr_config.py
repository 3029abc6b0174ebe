"""Sizes and parts of SA-GR: a flow-matching policy that also predicts what its actions will change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from tempovla.model.action_head.layerwise_config import LayerwiseFlowConfig
from tempovla.model.sensor.config import GeometryConfig
from tempovla.model.vla.lora_config import LoRAConfig
from tempovla.model.vlm.config import VLMConfig
from tempovla.timeline.arguments import FLOAT32_MAX, FLOAT32_MIN
from tempovla.timeline.keys import DEPTH_KEY_PREFIX, IMAGE_KEY_PREFIX, STATE_KEY


def _vlm() -> VLMConfig:
    return VLMConfig(readout="layers")


@dataclass(frozen=True)
class SAGRConfig:
    """A vision-language model, task tokens, a world predictor over them, and a layer-wise flow-matching head.

    Attributes:
        vlm: vision encoder, projector and language model. Its read-out is `layers`.
        cameras: keys of the image streams, in token order.
        optional_cameras: cameras that some bodies lack. A row without such a picture still takes part in the losses.
        robot_state_dim: size of the proprioceptive state, which head and world predictor read; None reads none.
        action_dim: number of action dimensions, including the gripper.
        has_gripper: whether the last action dimension is a binary gripper in {-1, +1}.
        action_horizon: number of steps T in a chunk of actions.
        temporal_delta_k: number k of steps after which the future frame is seen. k = T is what control observes when
            it executes whole chunks.
        horizons: further numbers of steps after which a future frame is predicted, beside k.
        max_instruction_tokens: number of tokens of the longest instruction. Shorter ones are padded.
        special_token_ids: ids of the tokenizer's special tokens, such as those that separate texts. The task tokens do
            not read them. Training takes them from the tokenizer.
        task_token_num: number K of task tokens.
        task_token_heads: number of attention heads of the anchor that makes them.
        algorithm_version: v3 makes task tokens of pictures and words before the language model; v4 makes them of its
            last layer, which the future frame then has to pass, too.
        geometry: encoder of where things are, from depth or from a pretrained model; None sees pictures alone. Depth is
            read of every camera, as `observation.depth.<camera>`.
        geometry_heads: number of attention heads with which pictures attend to geometry.
        action_head: options of the head.
        world_target: what is predicted: the task_tokens, their mean as one vector (z), the tokens of the vision
            encoder (vision), or the robot's state.
        world_target_encoder: weights that make the target: the policy's own (online), their running average (ema), or
            those of the start (frozen).
        world_target_decay: of the running average.
        world_target_loss: mse of normalised tokens, or one minus their cosine.
        world_detach_input: keep the prediction from changing the tokens that it starts from. Without this, tokens that
            are easy to predict are learned, and online ones may collapse.
        world_hidden_dim, world_num_layers, world_num_heads: sizes of the world predictor.
        world_condition: the prediction follows from the actions in between, or from the task tokens alone (tokens),
            which then learn what will be seen, as in VLA-JEPA. Only with actions can control compare it with what it
            sees, and can there be several horizons.
        world_action_source: actions from which the predictor learns: the demonstrated ones (teacher), as control gives
            it those that were executed, or these mixed with noise at a random flow time (noisy).
        world_predictor_max_params: number of parameters of the predictor above which a warning is logged.
        loss_w_fm, loss_w_dyn, loss_w_geo, loss_w_reg: weights of flow matching, of the prediction, of the energy of
            its residual, and of the drift's size.
        readout_token: read all task tokens, and all tokens of the language model's last layer, as one vector, which is
            one more token of the head. It keeps where things are, for encoders that learn from scratch.
        readout_token_dim, readout_feature_dim: widths to which each of these tokens, and all of them, are brought.
        cloning_weight: weight of a regression of the chunk from this vector. The noise in the loss of flow matching
            hides small details from an encoder that learns from scratch. 0 leaves it out.
        use_drift: correct velocities by the residual of the last prediction.
        drift_eta: bound of this correction.
        drift_hidden_dim: width of the layers that make it.
        enable_causal_feedback_token: add tokens about what the last actions changed.
        causal_feedback_token_num: number of these tokens.
        causal_feedback_scale: factor by which these tokens are multiplied before the head reads them.
        causal_feedback_dropout: probability with which each number in them is set to 0 in training.
        causal_feedback_aux_weight, causal_feedback_aux_dir_weight: weights of losses that make the tokens tell the
            change, as a vector and as a direction.
        inverse_weight: weight of an inverse model, which tells the k actions between the frame of now and that of k
            steps later. Where a dataset has no actions, the policy imitates what it tells. 0 leaves it out.
        flare_weight: weight of the alignment of the head's future tokens with the target, as in FLARE (0.2 there).
        flare_layer: number of the block behind which they are aligned, from 0 on; None takes the middle.
        replan: execute a chunk to its end unless the world departs from the prediction, and then plan anew; the policy
            looks at every k-th step.
        rrr_replan_threshold: ratio above which it plans anew: the error of the prediction, divided by the change that
            was expected. It has no effect without replan.
        rrr_eps: least number by which the error is divided.
        sagr_phase_a_steps: number of optimiser steps that train flow matching alone.
        sagr_phase_b_ramp_steps: number of optimiser steps over which the other losses then grow to their weights.
        lora: adapters in the language model. Its own weights then do not learn.
        control_fields: the settings that control alone reads; they can be given anew to a trained policy.
    """

    control_fields: ClassVar[tuple[str, ...]] = ("action_head.num_inference_timesteps", "rrr_replan_threshold")

    vlm: VLMConfig = field(default_factory=_vlm)
    cameras: tuple[str, ...] = (IMAGE_KEY_PREFIX + "agentview_rgb",)
    optional_cameras: tuple[str, ...] = ()
    robot_state_dim: int | None = None
    action_dim: int = 7
    has_gripper: bool = True
    action_horizon: int = 8
    temporal_delta_k: int = 8
    horizons: tuple[int, ...] = ()
    max_instruction_tokens: int = 32
    special_token_ids: tuple[int, ...] = ()
    task_token_num: int = 32
    task_token_heads: int = 8
    algorithm_version: Literal["v3", "v4"] = "v3"
    geometry: GeometryConfig | None = None
    geometry_heads: int = 8
    action_head: LayerwiseFlowConfig = field(default_factory=LayerwiseFlowConfig)
    world_target: Literal["task_tokens", "z", "vision", "state"] = "task_tokens"
    world_target_encoder: Literal["online", "ema", "frozen"] = "online"
    world_target_decay: float = 0.996
    world_target_loss: Literal["mse", "cosine"] = "mse"
    world_detach_input: bool = True
    world_hidden_dim: int = 512
    world_num_layers: int = 4
    world_num_heads: int = 8
    world_condition: Literal["actions", "tokens"] = "actions"
    world_action_source: Literal["teacher", "noisy"] = "teacher"
    world_predictor_max_params: int = 30_000_000
    loss_w_fm: float = 1.0
    loss_w_dyn: float = 0.2
    loss_w_geo: float = 0.1
    loss_w_reg: float = 1e-3
    readout_token: bool = False
    readout_token_dim: int = 32
    readout_feature_dim: int = 256
    cloning_weight: float = 0.0
    use_drift: bool = True
    drift_eta: float = 0.2
    drift_hidden_dim: int = 512
    enable_causal_feedback_token: bool = False
    causal_feedback_token_num: int = 1
    causal_feedback_scale: float = 1.0
    causal_feedback_dropout: float = 0.0
    causal_feedback_aux_weight: float = 0.0
    causal_feedback_aux_dir_weight: float = 0.0
    inverse_weight: float = 0.0
    flare_weight: float = 0.0
    flare_layer: int | None = None
    replan: bool = False
    rrr_replan_threshold: float = 2.5
    rrr_eps: float = 1e-4
    sagr_phase_a_steps: int = 0
    sagr_phase_b_ramp_steps: int = 0
    lora: LoRAConfig | None = None

    def __post_init__(self) -> None:
        sizes = ("robot_state_dim", "action_dim", "action_horizon", "temporal_delta_k", "max_instruction_tokens")
        tokens = ("task_token_num", "task_token_heads", "geometry_heads", "causal_feedback_token_num")
        world = ("world_hidden_dim", "world_num_layers", "world_num_heads", "world_predictor_max_params")
        for name in (*sizes, *tokens, *world, "drift_hidden_dim", "readout_token_dim", "readout_feature_dim"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"model.{name}={value} must be at least 1")
        weights = ("loss_w_fm", "loss_w_dyn", "loss_w_geo", "loss_w_reg", "flare_weight", "inverse_weight")
        feedback = ("causal_feedback_scale", "causal_feedback_aux_weight", "causal_feedback_aux_dir_weight")
        phases = ("sagr_phase_a_steps", "sagr_phase_b_ramp_steps")
        for name in (*weights, *feedback, "drift_eta", "cloning_weight", *phases):
            if not 0 <= getattr(self, name) <= FLOAT32_MAX:
                raise ValueError(
                    f"model.{name}={getattr(self, name)} must be finite, and not negative, as a number of 32 bits; "
                    f"give one from 0 to {FLOAT32_MAX:.1e}"
                )
        for name in ("rrr_replan_threshold", "rrr_eps"):
            if not FLOAT32_MIN <= getattr(self, name) <= FLOAT32_MAX:
                raise ValueError(
                    f"model.{name}={getattr(self, name)} must be greater than 0, and finite, as a number of 32 bits; "
                    f"give one from {FLOAT32_MIN:.1e} to {FLOAT32_MAX:.1e}"
                )
        for name in ("world_target_decay", "causal_feedback_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"model.{name}={getattr(self, name)} must be at least 0, and less than 1")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"model.{name}={getattr(self, name)!r} is unknown; choose from {', '.join(known)}")
        self._check_streams()
        self._check_time()
        self._check_sizes()
        told = [name for name in feedback[1:] if getattr(self, name)]
        if told and not self.enable_causal_feedback_token:
            raise ValueError(
                f"model.{told[0]}={getattr(self, told[0])} is the weight of a loss of feedback tokens, but there are "
                "none; set model.enable_causal_feedback_token=true, or the weight to 0"
            )

    def _check_streams(self) -> None:
        if self.vlm.readout != "layers":
            raise ValueError(
                f"model.vlm.readout={self.vlm.readout}: this head reads the language model layer by layer; set it to "
                "layers"
            )
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"model.cameras={list(self.cameras)} must name at least one camera, and none twice")
        unknown = [camera for camera in self.optional_cameras if camera not in self.cameras]
        if unknown:
            raise ValueError(f"model.optional_cameras={unknown} are not among model.cameras={list(self.cameras)}")
        if self.world_target == "state" and self.robot_state_dim is None:
            raise ValueError("model.world_target=state needs the robot's state; set model.robot_state_dim")
        if self.world_condition == "tokens" and (self.use_drift or self.replan or self.horizons):
            raise ValueError(
                "model.world_condition=tokens predicts without the actions, so that neither control nor several "
                "horizons can tell their effects apart; set model.use_drift=false and model.replan=false, and leave "
                "model.horizons out"
            )
        if self.geometry is not None and self.geometry.kind == "point_map":
            raise ValueError(
                "model.geometry.kind=point_map: datasets have no streams of point maps; choose depth or latent"
            )
        if self.copies_encoder and self.algorithm_version == "v4" and self.world_target != "vision":
            raise ValueError(
                f"model.world_target_encoder={self.world_target_encoder} with algorithm_version=v4 would copy the "
                "language model; set one of them to online or v3"
            )

    def _check_time(self) -> None:
        k, chunk = self.temporal_delta_k, self.action_horizon
        if any(steps < 1 for steps in self.horizons) or len({k, *self.horizons}) <= len(self.horizons):
            raise ValueError(
                f"model.horizons={list(self.horizons)} must be steps of at least 1, none twice, and none of them "
                f"temporal_delta_k={k}"
            )
        furthest = max(k, *self.horizons, 0)
        if self.uses_world and furthest > chunk:
            raise ValueError(
                f"a future frame {furthest} steps ahead lies beyond the model.action_horizon={chunk} actions that lead "
                "to it; lower model.temporal_delta_k and model.horizons, or raise model.action_horizon"
            )
        if self.remembers and k > chunk:
            raise ValueError(
                f"model.temporal_delta_k={k} steps lie between two decisions, but a chunk ends after "
                f"model.action_horizon={chunk}; set model.temporal_delta_k to {chunk} at most"
            )
        if self.replan and chunk < 2 * k:
            raise ValueError(
                f"model.replan=true looks every temporal_delta_k={k} steps whether a chunk of action_horizon={chunk} "
                "still fits; give it at least two looks (action_horizon >= 2 * temporal_delta_k), or set it to false"
            )
        if self.flare_weight and self.target_tokens not in (None, self.action_head.num_target_vision_tokens):
            raise ValueError(
                f"model.flare_weight={self.flare_weight} aligns {self.action_head.num_target_vision_tokens} future "
                f"tokens with {self.target_tokens} of the target; set model.action_head.num_target_vision_tokens="
                f"{self.target_tokens}"
            )

    def _check_sizes(self) -> None:
        """Refuse sizes that do not fit, as far as they do not depend on the language model."""
        if self.uses_world and self.world_hidden_dim % self.world_num_heads:
            raise ValueError(
                f"model.world_num_heads={self.world_num_heads} does not divide model.world_hidden_dim="
                f"{self.world_hidden_dim}; choose one that does"
            )
        self.action_head.check_horizon(self.action_horizon)
        if self.action_head.num_layers is not None:
            self.check_flare_layer(self.action_head.num_layers)

    def check_flare_layer(self, blocks: int) -> None:
        """Refuse to align the tokens of a block that the head does not have.

        Args:
            blocks: number of blocks of the head.

        Raises:
            ValueError: naming this number.
        """
        if self.flare_layer is not None and not 0 <= self.flare_layer < blocks:
            raise ValueError(
                f"model.flare_layer={self.flare_layer} is none of the head's {blocks} blocks; choose from 0 to "
                f"{blocks - 1}, or null for the middle"
            )

    @property
    def depths(self) -> tuple[str, ...]:
        """Keys of the streams of depth that are read."""
        if self.geometry is None or self.geometry.kind != "depth":
            return ()
        return tuple(map(_depth_of, self.cameras))

    @property
    def optional(self) -> tuple[str, ...]:
        """Keys of the streams that some bodies lack."""
        return (*self.optional_cameras, *map(_depth_of, self.optional_cameras))

    @property
    def required(self) -> tuple[str, ...]:
        """Keys of the streams without which a row is not learned from."""
        state = () if self.robot_state_dim is None else (STATE_KEY,)
        return tuple(key for key in (*state, *self.cameras, *self.depths) if key not in self.optional)

    @property
    def target_tokens(self) -> int | None:
        """Number of tokens of the target; None if the vision encoder decides."""
        return {"task_tokens": self.task_token_num, "z": 1, "state": 1}.get(self.world_target)

    @property
    def uses_world(self) -> bool:
        """Whether there is a world predictor: a loss trains it, or control needs it."""
        return bool(self.loss_w_dyn or self.loss_w_geo) or self.use_drift or self.replan

    @property
    def unlearned(self) -> str | None:
        """What control reads of a prediction that no loss trains, as a warning with the remedy; None if all is well."""
        reads = [name for name in ("use_drift", "replan") if getattr(self, name)]
        if self.loss_w_dyn or self.loss_w_geo or not reads:
            return None
        settings = " and ".join(f"model.{name}=true" for name in reads)
        return (
            "the world predictor never learns, because model.loss_w_dyn and model.loss_w_geo are 0, but control uses "
            f"it ({settings}); raise one of the weights, or set {settings.replace('true', 'false')}"
        )

    @property
    def without_effect(self) -> dict[str, str]:
        """By name, those of `control_fields` that a policy with these settings does not read: why, and the remedy."""
        if self.replan:
            return {}
        reason = "the policy was trained with model.replan=false, and never breaks off a chunk"
        return {"rrr_replan_threshold": f"{reason}; leave it out, or train a policy with model.replan=true"}

    @property
    def uses_future(self) -> bool:
        """Whether training sees a future frame."""
        return self.uses_target or bool(self.inverse_weight)

    @property
    def uses_target(self) -> bool:
        """Whether something is predicted of a future frame."""
        return self.uses_world or bool(self.flare_weight)

    @property
    def learns_from_video(self) -> bool:
        """Whether frames without actions teach the policy something, as its prediction reads none."""
        return bool(self.inverse_weight) or self.predicts_without_actions

    @property
    def predicts_without_actions(self) -> bool:
        """Whether what is predicted of a future frame does not depend on the actions until then."""
        return self.uses_target and not (self.uses_world and self.world_condition == "actions")

    video_remedy: ClassVar[str] = "set model.inverse_weight=1"
    """How frames without actions would teach the policy something."""

    @property
    def copies_encoder(self) -> bool:
        """Whether the target has weights of its own."""
        return self.uses_target and self.world_target_encoder != "online" and self.world_target != "state"

    @property
    def uses_past(self) -> bool:
        """Whether training sees the frame k steps ago, and control remembers it."""
        return self.use_drift or self.enable_causal_feedback_token

    @property
    def remembers(self) -> bool:
        """Whether control looks at every k-th step and keeps what it saw then."""
        return self.uses_past or self.replan


def _depth_of(camera: str) -> str:
    return DEPTH_KEY_PREFIX + camera.removeprefix(IMAGE_KEY_PREFIX)


_CHOICES = {
    "algorithm_version": ("v3", "v4"),
    "world_target": ("task_tokens", "z", "vision", "state"),
    "world_target_encoder": ("online", "ema", "frozen"),
    "world_target_loss": ("mse", "cosine"),
    "world_condition": ("actions", "tokens"),
    "world_action_source": ("teacher", "noisy"),
}
