"""StateVLA: a state representation learned by predicting the future, then a flow-matching policy on top of it.

Phase 1 (temporal JEPA): z_t and the actions to t+k predict the z_{t+k} of a slowly moving target encoder.
Phase 2 (flow matching): z_t gives a chunk of actions; pose by flow matching, the gripper by a classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tempovla.model.action_head.flow_matching import FlowMatchingPolicy
from tempovla.model.action_head.gripper import GripperClassifier, gripper_action, gripper_target
from tempovla.model.fusion.state_encoder import AllTokensReadout, ClsReadout, StateEncoder
from tempovla.model.fusion.tokenizer import MultiModalTokenizer
from tempovla.model.layers.mlp import mlp
from tempovla.model.layers.recompute import Recompute
from tempovla.model.layers.sequence import sequence_encoder
from tempovla.model.layers.stacks import recomputed_layers
from tempovla.model.vla.features import Features
from tempovla.model.vla.noise_state import NoiseState
from tempovla.model.vla.observation import all_observed, observed_pictures, observed_vector
from tempovla.model.vla.predictions import future_actions, prediction_of, prediction_windows
from tempovla.model.vla.saved_policy import SavedPolicy
from tempovla.model.vla.statevla_config import StateVLAConfig
from tempovla.model.world_model.ema_target import EmaTarget, ema_momentum
from tempovla.model.world_model.temporal_predictor import InverseDynamics, TemporalPredictor
from tempovla.timeline import (
    ActionChunk,
    Context,
    LossTerm,
    LossTerms,
    Metric,
    Prediction,
    TimelineSample,
    Track,
    Window,
)
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import ACTION_KEY, ENCODING_KEY, LANGUAGE_KEY, STATE_KEY
from tempovla.timeline.noise import row_normal, row_uniform

NOT_OF_ENCODER = frozenset(
    {
        "action_dim",
        "action_seq_len",
        "cloning_weight",
        "context",
        "flow_draws",
        "flow_steps",
        "freeze_encoder",
        "has_gripper",
        "jepa",
        "policy_embed_dim",
        "policy_layers",
        "policy_type",
        "vision_model",
    }
)
"""Settings that z does not depend on; for the vision model's name stands its fingerprint, a buffer of the encoder."""


class StateVLA(SavedPolicy):
    """The policy; `phase` chooses what `forward` trains.

    Args:
        config: sizes.
        phase: 1 for the temporal JEPA, 2 for the policy.
    """

    kind = "statevla"
    config_class = StateVLAConfig
    config: StateVLAConfig

    def __init__(self, config: StateVLAConfig, phase: Literal[1, 2] = 2) -> None:
        super().__init__()
        if phase not in (1, 2):
            raise ValueError(f"phase={phase!r} is unknown; StateVLA trains in phases 1 and 2")
        self.config = config
        self.phase = phase
        self.encoder = build_state_encoder(config)
        self.target_encoder = EmaTarget(self.encoder)
        jepa, chunk_dim = config.jepa, config.action_dim * config.jepa.prediction_horizon
        hidden = jepa.temporal_predictor_hidden_dim
        self.temporal_predictor = TemporalPredictor(config.state_dim, chunk_dim, hidden)
        self.inverse_dynamics = (
            InverseDynamics(config.state_dim, chunk_dim, hidden) if jepa.inverse_dynamics_weight else None
        )
        self.behavior_cloning = (
            mlp((config.state_dim, hidden, config.action_seq_len * config.action_dim))
            if jepa.behavior_cloning_weight or self.clones_in_phase2
            else None
        )
        backbone = sequence_encoder(
            config.policy_type,
            dim=config.policy_embed_dim,
            depth=config.policy_layers,
            max_length=2 + config.action_seq_len,
            num_heads=config.num_heads,
            d_state=config.d_state,
            d_conv=config.d_conv,
            expand=config.expand,
        )
        self.flow_policy = FlowMatchingPolicy(
            config.state_dim, config.pose_dim, config.action_seq_len, config.policy_embed_dim, backbone
        )
        self.gripper = (
            GripperClassifier(config.state_dim, config.policy_embed_dim, config.action_seq_len)
            if config.has_gripper
            else None
        )
        self._choose_trainable()

    @property
    def clones_in_phase2(self) -> bool:
        """Whether phase 2 regresses actions, too."""
        return self.config.cloning_weight > 0 and not self.config.freeze_encoder

    def _choose_trainable(self) -> None:
        learns = {
            "encoder": self.phase == 1 or not self.config.freeze_encoder,
            "temporal_predictor": self.phase == 1,
            "inverse_dynamics": self.phase == 1,
            "behavior_cloning": self.phase == 1 or self.clones_in_phase2,
            "flow_policy": self.phase == 2,
            "gripper": self.phase == 2,
        }
        for name, part in self.named_children():
            part.requires_grad_(learns.get(name, False))

    def recompute_activations(self, on: bool) -> None:
        """Whether the layers' activations are computed again in the backward pass instead of kept; see `Recompute`."""
        for module in self.modules():
            if isinstance(module, Recompute):
                module.recompute = on

    def enable_gradient_checkpointing(self) -> None:
        """Keep only each layer's input for the backward pass, and compute the rest again; gradients are the same."""
        self.recompute_activations(True)

    def shard_units(self) -> list[nn.Module]:
        """Return the layers of encoder, target encoder and policy, whose weights FSDP puts together one at a time."""
        return recomputed_layers(self)

    def windows(self) -> tuple[Window, ...]:
        """Return observations now, and in phase 1 also k steps ahead; the actions from now on."""
        config = self.config
        horizon = config.jepa.prediction_horizon
        observed = (0, horizon) if self.phase == 1 else (0,)
        actions = max(horizon, config.action_seq_len) if self.phase == 1 else config.action_seq_len
        keys = (STATE_KEY, *config.cameras)
        return (*(Window(key, observed) for key in keys), Window(ACTION_KEY, tuple(range(actions))))

    def initial_state(self, batch_size: int) -> NoiseState:
        """Return rows that have drawn nothing yet."""
        return NoiseState.initial(batch_size, self.device)

    def with_seeds(self, state: NoiseState, seed: Tensor) -> NoiseState:
        """Return the state with every row's noise drawn from its seed (B,)."""
        return state.with_seeds(seed)

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return next(self.parameters()).device

    def forward(self, sample: TimelineSample) -> LossTerms:
        """Return loss terms of the current phase."""
        return self._jepa_terms(sample) if self.phase == 1 else self._policy_terms(sample)

    def encode(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return z_t (B, state_dim), and (B,) whether every observation of now was valid."""
        if ENCODING_KEY in context.now:
            return context.now[ENCODING_KEY].at(0)
        return self.encoder(*self._inputs(context.now, 0, context)), self._observed(context.now, 0)

    def encode_features(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return z_t (B, state_dim), and (B,) whether every observation of now was valid."""
        return self.encode(context)

    def encoder_parts(self) -> dict[str, nn.Module]:
        """Return the modules that z comes from, by name."""
        return {"encoder": self.encoder}

    def encoder_config(self) -> dict[str, Any]:
        """Return the part of the config on which z may depend."""
        return {name: value for name, value in config_to_json(self.config).items() if name not in NOT_OF_ENCODER}

    def act(self, context: Context, state: NoiseState) -> tuple[ActionChunk, NoiseState]:
        """Return a chunk of actions (B, H, A), normalised as in training."""
        seed, state = state.decide(context.first)
        return self.actions_of(self.features(context), context, seed), state

    @property
    def feature_dim(self) -> int:
        """Size of z."""
        return self.config.state_dim

    @property
    def horizon(self) -> int:
        """Steps of a chunk of actions."""
        return self.config.action_seq_len

    def observation_keys(self) -> tuple[str, ...]:
        """Return the streams that are read."""
        return (STATE_KEY, *self.config.cameras)

    def features(self, context: Context) -> Features:
        """Return z as the single token that the policy of phase 2 reads."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_encoder):
            z, _ = self.encode(context)
        return Features(z[:, None], torch.ones_like(z[:, :1], dtype=torch.bool))

    def freeze_features(self) -> None:
        """Leave only the policy of phase 2 to learn."""
        self.encoder.requires_grad_(False)

    def actions_of(self, features: Features, context: Context, seed: Tensor) -> ActionChunk:
        """`act` behind the features of a context: seed (B,)."""
        action = self._actions(features.tokens[:, 0], self.random_numbers(seed))
        return ActionChunk.of(action, range(self.config.action_seq_len))

    def _actions(self, z: Tensor, numbers: Mapping[str, Tensor]) -> Tensor:
        action = self.flow_policy.sample(z, numbers["normal"], self.config.flow_steps)
        if self.gripper is not None:
            action = torch.cat([action, gripper_action(self.gripper(z))[..., None]], dim=-1)
        return action.float()

    def random_numbers(self, seed: Tensor) -> dict[str, Tensor]:
        """Return the random numbers of a decision, by name, each (B, ...), from its seeds (B,) int64."""
        return {"normal": row_normal(seed, (self.config.action_seq_len, self.config.pose_dim))}

    @property
    def prediction_stride(self) -> int:
        """Number k of control steps that the temporal predictor looks ahead at once."""
        return self.config.jepa.prediction_horizon

    def prediction_windows(self, horizon: int) -> tuple[Window, ...]:
        """Return the windows of a sample whose last target lies `horizon` control steps ahead."""
        return prediction_windows(self.observation_keys(), horizon, self.prediction_stride)

    def predict(self, sample: TimelineSample) -> dict[str, Prediction]:
        """Return as `latent` what the temporal predictor says of z, beside the encoder's own z of what then came."""
        stride, context = self.prediction_stride, sample.context
        actions, done = future_actions(sample, stride)

        def encoded(tracks: Mapping[str, Track], offset: int) -> tuple[Tensor, Tensor]:
            return self.encoder(*self._inputs(tracks, offset, context)), self._observed(tracks, offset)

        (z, seen), past = encoded(context.now, 0), encoded(context.past, -stride)
        later = [encoded(sample.future, stride * step) for step in range(1, actions.shape[1] + 1)]
        imagined = self.temporal_predictor.imagine(z, actions)
        return {"latent": prediction_of("latent", imagined, later, (z, seen), past, done)}

    def features_of(self, observation: Mapping[str, Tensor]) -> Features:
        """Return `features` of the present observation as prepared tensors (B, ...) by key, all of them valid."""
        pictures = [observation[key] for key in self.config.cameras]
        z = self.encoder(observation[LANGUAGE_KEY], observation[STATE_KEY], pictures)
        return Features(z[:, None], torch.ones_like(z[:, :1], dtype=torch.bool))

    def actions_from(self, features: Features, numbers: Mapping[str, Tensor]) -> Tensor:
        """Return actions (B, H, A), normalised, from features and `random_numbers`."""
        return self._actions(features.tokens[:, 0], numbers)

    def after_step(self, train_step: int) -> None:
        """Phase 1: move the target encoder."""
        if self.phase == 1:
            jepa = self.config.jepa
            momentum = ema_momentum(jepa.ema_momentum, train_step, jepa.ema_steps, jepa.ema_momentum_schedule)
            self.target_encoder.update(self.encoder, momentum)

    def _inputs(self, tracks: Mapping[str, Track], offset: int, context: Context) -> tuple[Any, ...]:
        """Language, robot state and pictures at one offset, with zeros (black pictures) where nothing valid is."""
        language = observed_vector(context.now, LANGUAGE_KEY)
        return (
            language,
            observed_vector(tracks, STATE_KEY, offset),
            observed_pictures(tracks, self.config.cameras, offset),
        )

    def _observed(self, tracks: Mapping[str, Track], offset: int) -> Tensor:
        """(B,) True where state and all pictures are valid at one offset."""
        return all_observed(tracks, (STATE_KEY, *self.config.cameras), offset)

    def _jepa_terms(self, sample: TimelineSample) -> LossTerms:
        jepa, context = self.config.jepa, sample.context
        horizon = jepa.prediction_horizon
        action = sample.future[ACTION_KEY]
        done = action.value[:, :horizon].flatten(1)
        done_valid = action.valid[:, :horizon].all(dim=1)
        # The target goes first: its work arrays are gone before the encoder keeps its own for the backward pass.
        z_future = self.target_encoder(*self._inputs(sample.future, horizon, context))
        z, observed = self.encode(context)
        valid = observed & self._observed(sample.future, horizon) & done_valid
        predicted = self.temporal_predictor(z, torch.where(done_valid[:, None], done, 0.0))
        regularized, rows = (z, observed) if jepa.regularize == "state" else (predicted, valid)
        terms: dict[str, LossTerm | Metric] = {
            "jepa_mse": LossTerm(predicted, z_future, valid),
            "jepa_persistence": Metric(z.detach(), z_future, valid, "mse"),
            "jepa_variance": LossTerm(regularized, None, rows, jepa.variance_weight, "variance"),
            "jepa_covariance": LossTerm(regularized, None, rows, jepa.covariance_weight, "covariance"),
            "z_std": spread_term(z, observed),
        }
        if self.inverse_dynamics is not None:
            recovered = self.inverse_dynamics(z, z_future)
            terms["inverse_dynamics"] = LossTerm(recovered, done, valid, jepa.inverse_dynamics_weight)
        if self.behavior_cloning is not None and jepa.behavior_cloning_weight:
            terms["behavior_cloning"] = self._cloning_term(z, observed, action, jepa.behavior_cloning_weight)
        return terms

    def _cloning_term(self, z: Tensor, observed: Tensor, action: Track, weight: float) -> LossTerm:
        """The action chunk regressed from z."""
        assert self.behavior_cloning is not None
        length = self.config.action_seq_len
        cloned = self.behavior_cloning(z).unflatten(1, (length, self.config.action_dim))
        return LossTerm(cloned, action.value[:, :length], action.valid[:, :length] & observed[:, None], weight)

    def _policy_terms(self, sample: TimelineSample) -> LossTerms:
        context = sample.context
        return self.terms_of(self.features(context), context, sample.future[ACTION_KEY], sample.seed)

    def terms_of(self, features: Features, context: Context, action: Track, seed: Tensor) -> LossTerms:
        """Return loss terms of phase 2 behind the features of a context: action (B, H, A), seed (B,)."""
        config, z = self.config, features.tokens[:, 0]
        observed = context.now[ENCODING_KEY].at(0)[1] if ENCODING_KEY in context.now else self._observed(context.now, 0)
        valid = action.valid & observed[:, None]
        clean = torch.where(valid[..., None], action.value, 0.0)
        draws = config.flow_draws
        repeated = (z, clean[..., : config.pose_dim], valid)
        z_many, pose, pose_valid = (x.repeat_interleave(draws, dim=0) for x in repeated)
        shape = (draws, config.action_seq_len, config.pose_dim)
        noise = row_normal(seed, shape, stream=1).flatten(0, 1)
        flow_time = row_uniform(seed, (draws,), stream=2).flatten()
        velocity, target = self.flow_policy.training_pair(pose, noise, flow_time, z_many)
        terms: dict[str, LossTerm | Metric] = {
            "pos_rot_loss": LossTerm(velocity, target, pose_valid),
            "z_std": spread_term(z, observed),
        }
        if self.clones_in_phase2:
            terms["behavior_cloning"] = self._cloning_term(z, observed, action, config.cloning_weight)
        if self.gripper is not None:
            terms["gripper_loss"] = LossTerm(self.gripper(z), gripper_target(clean[..., -1]), valid, kind="bce")
        return terms


def spread_term(z: Tensor, valid: Tensor) -> Metric:
    """How much z differs between observations: logged, not trained on; near 0 the representation has collapsed."""
    return Metric(z.detach(), None, valid, "std")


def build_state_encoder(config: StateVLAConfig) -> StateEncoder:
    """Build tokenizer, encoder and read-out from the config."""
    tokenizer = MultiModalTokenizer(
        num_cameras=len(config.cameras),
        image_tokenizer=config.image_tokenizer,
        image_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        lang_emb_dim=config.lang_emb_dim,
        robot_state_dim=config.robot_state_dim,
        vision_model=config.vision_model,
    )
    encoder = sequence_encoder(
        config.encoder_type,
        dim=config.embed_dim,
        depth=config.encoder_depth,
        max_length=tokenizer.num_tokens,
        num_heads=config.num_heads,
        d_state=config.d_state,
        d_conv=config.d_conv,
        expand=config.expand,
    )
    if config.readout == "cls":
        readout: nn.Module = ClsReadout(config.embed_dim, config.state_dim)
    else:
        readout = AllTokensReadout(config.embed_dim, config.state_dim, tokenizer.num_tokens)
    return StateEncoder(tokenizer, encoder, readout)
