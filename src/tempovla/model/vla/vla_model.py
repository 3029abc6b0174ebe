"""VLA: a vision-language model that reads pictures, robot state and an instruction, and an action head behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.action_head.registry import build_action_head
from tempovla.model.fusion.state_encoder import AllTokensReadout
from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.mlp import mlp
from tempovla.model.layers.stacks import outermost_layers, recomputed_layers
from tempovla.model.vla.chunk_policy import ChunkPolicy
from tempovla.model.vla.features import Features
from tempovla.model.vla.instruction_ids import instruction_ids
from tempovla.model.vla.noise_state import NoiseState
from tempovla.model.vla.observation import all_observed, observed_vector, own_dims, supervised
from tempovla.model.vla.pretrained_io import load_vlm_parts
from tempovla.model.vla.vla_config import VLAConfig
from tempovla.model.vlm.vlm_model import VLMModel
from tempovla.timeline import ActionChunk, Context, LossTerm, LossTerms, TimelineSample, Track
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import ACTION_KEY, ENCODING_KEY, STATE_KEY, TOKENS_KEY

NOT_OF_ENCODER = frozenset(
    {
        "action_head",
        "action_head_options",
        "action_horizon",
        "cloning_weight",
        "context",
        "has_gripper",
        "lambda_temporal",
    }
)
"""Settings that the features do not depend on."""


class VLAModel(ChunkPolicy):
    """The policy.

    Args:
        config: its parts and sizes.
        fields: instead of a config, what `VLAConfig.of` takes, such as `vision_model_name` and `action_head`.

    Attributes:
        vlm: the vision-language model.
        action_head: the action head.
        hidden_dim: width of the features that it gets.
        config: with what was read from pretrained models filled in; a `VLAModel` built from it reads nothing.

    Raises:
        ValueError: if a part does not load, or the parts do not fit.
    """

    kind = "vla"
    config_class = VLAConfig
    config: VLAConfig

    def __init__(self, config: VLAConfig | None = None, **fields: Any) -> None:
        super().__init__()
        config = VLAConfig.of(**fields) if config is None else replace(config, **fields)
        self.vlm = VLMModel(replace(config.vlm, num_cameras=len(config.cameras)))
        self.config = replace(config, vlm=self.vlm.resolved_config, lora=None)
        width = self.vlm.language.hidden_dim
        self.robot_state = None
        if config.robot_state_dim is not None:
            masks = config.robot_state_dim + config.action_dim if config.reads_dims else 0
            self.robot_state = mlp((config.robot_state_dim + masks, width, width))
        self.readout = None
        self.hidden_dim = self.vlm.hidden_dim
        if config.token_dim is not None:
            self.readout = AllTokensReadout(
                self.vlm.hidden_dim, config.feature_dim, self._tokens_read(), config.token_dim
            )
            self.hidden_dim = config.feature_dim
        options = config.action_head_options.get(config.action_head, {})
        self.action_head = build_action_head(
            config.action_head, self.hidden_dim, config.action_dim, config.action_horizon, options
        )
        chunk = config.action_horizon * config.action_dim
        self.behavior_cloning = mlp((self.hidden_dim, self.hidden_dim, chunk)) if config.cloning_weight else None
        if config.lora is not None:
            self.enable_lora(config.lora.r, config.lora.alpha, config.lora.target_modules)

    @property
    def language_model(self) -> nn.Module:
        """The part that gets adapters."""
        return self.vlm.language

    @property
    def horizon(self) -> int:
        """Steps of a chunk of actions."""
        return self.config.action_horizon

    def _tokens_read(self) -> int:
        """How many tokens the vision-language model gives."""
        vlm = self.config.vlm
        if vlm.readout != "all_tokens":
            return vlm.num_queries if vlm.readout == "queries" else 1
        return self.vlm.num_vision_tokens + int(self.robot_state is not None) + self.config.max_instruction_tokens

    @property
    def feature_dim(self) -> int:
        """Width of the features."""
        return self.hidden_dim

    def features(self, context: Context) -> Features:
        """Return the features for the action head; see `encode`."""
        return Features(*self.encode(context))

    def freeze_features(self) -> None:
        """Freeze everything but the action head and the regression beside it."""
        for part in self.encoder_parts().values():
            part.requires_grad_(False)

    def encode(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return the features for the action head: tokens (B, L, hidden_dim), and which of them are valid (B, L) bool.

        L is 1 with `token_dim`. Cameras, state and instruction that are not valid are left out. Where features were
        computed beforehand, they are the one token; 0 in rows without.
        """
        if ENCODING_KEY in context.now:
            z, there = context.now[ENCODING_KEY].at(0)
            return torch.where(there[:, None], z, 0.0)[:, None], torch.ones_like(there)[:, None]
        cameras = [context.now[key].at(0) for key in self.config.cameras]
        pictures, seen = (torch.stack(column, dim=1) for column in zip(*cameras, strict=True))
        ids, told = context.now[TOKENS_KEY].at(0)
        state = state_valid = None
        if self.robot_state is not None:
            state = self._state_vector(context)
            state_valid = all_observed(context.now, (STATE_KEY,))
        words = told[:, None] & (ids >= 0)
        return self.read(pictures, ids, words, state, image_mask=seen, state_valid=state_valid)

    def encode_features(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return the features (B, hidden_dim) as one vector, and (B,) whether every observation that is needed was
        valid.

        Raises:
            ValueError: if there are several tokens a row.
        """
        tokens, valid = self.encode(context)
        if tokens.shape[1] != 1:
            raise ValueError(
                f"model.token_dim=null gives the action head {tokens.shape[1]} tokens; features are one vector, so set "
                "model.token_dim"
            )
        needed = self._required(context)
        return tokens[:, 0], valid[:, 0] & all_observed(context.now, needed) if needed else valid[:, 0]

    def encoder_parts(self) -> dict[str, nn.Module]:
        """Return the modules that the features come from, by name."""
        parts = {"vlm": self.vlm, "robot_state": self.robot_state, "readout": self.readout}
        return {name: part for name, part in parts.items() if part is not None}

    def encoder_config(self) -> dict[str, Any]:
        """Return the part of the config on which the features may depend."""
        return {name: value for name, value in config_to_json(self.config).items() if name not in NOT_OF_ENCODER}

    def read(
        self,
        pictures: Tensor,
        ids: Tensor,
        words: Tensor,
        state: Tensor | None = None,
        *,
        image_mask: Tensor | None = None,
        state_valid: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """`encode` of tensors alone.

        Args:
            pictures: (B, V, 3, S, S) uint8, one a camera.
            ids: (B, L) int64 token ids of the instruction.
            words: (B, L) bool, True where there is a token.
            state: (B, robot_state_dim) normalised, and with `reads_dims` what there is of it, if it is read.
            image_mask: (B, V) bool, False where a camera gave no picture; None: all did.
            state_valid: (B,) bool; None: all are.
        """
        extra = extra_mask = None
        if self.robot_state is not None:
            assert state is not None, "a policy with robot_state_dim reads the state"
            extra = self.robot_state(in_dtype_of(self.robot_state, state))[:, None]
            extra_mask = None if state_valid is None else state_valid[:, None]
        tokens, valid = self.vlm(pictures, ids, words, extra, image_mask=image_mask, extra_mask=extra_mask)
        if self.readout is None:
            return tokens, valid
        vector = self.readout(torch.where(valid[..., None], tokens, 0.0))
        return vector[:, None], torch.ones_like(valid[:, :1])

    def _state_vector(self, context: Context) -> Tensor:
        """The state (B, R); with `reads_dims` (B, 2R + A), and which dimensions of it and of actions there are."""
        own = {key: own_dims(context.now, key) for key in (STATE_KEY, ACTION_KEY)}
        return self._with_dims(observed_vector(context.now, STATE_KEY), own)

    def _with_dims(self, state: Tensor, own: Mapping[str, Tensor | None]) -> Tensor:
        if not self.config.reads_dims:
            return state
        parts = [state]
        for key, width in ((STATE_KEY, state.shape[1]), (ACTION_KEY, self.config.action_dim)):
            dims = own.get(key)
            parts.append(state.new_ones(state.shape[0], width) if dims is None else dims.to(state.dtype))
        return torch.cat(parts, dim=1)

    def get_features(
        self, images: Tensor | Context, text: str | Sequence[str] | Tensor | None = None, state: Tensor | None = None
    ) -> Tensor:
        """Return features (B, hidden_dim): the mean of the action head's tokens.

        Args:
            images: (B, 3, H, W) of one camera or (B, V, 3, H, W) of V, uint8 [0, 255] or float [0, 1], of any H and W;
                or a prepared context, which holds text and state as well.
            text: one instruction for all rows or one for each, read by `vlm.language.tokenizer`; or their token ids
                (B, L) int64, -1 where a shorter one has ended.
            state: (B, robot_state_dim) normalised, where the policy reads it.

        Raises:
            ValueError: if text or state is missing, or does not fit.
        """
        if isinstance(images, Context):
            return self.action_head.pooled(*self.encode(images))
        pictures = images[:, None] if images.dim() == 4 else images
        if (state is None) != (self.robot_state is None):
            has = "reads the robot's state; give" if state is None else "reads no state; leave out"
            raise ValueError(f"get_features: this policy {has} state")
        if state is not None:
            state = self._with_dims(state, {})
        ids = instruction_ids(text, len(pictures), self.config.max_instruction_tokens, self.vlm.language)
        return self.action_head.pooled(*self.read(pictures, ids, ids >= 0, state))

    def forward(self, sample: TimelineSample) -> LossTerms:
        """Return loss terms of the action head and, with `cloning_weight`, `behavior_cloning`."""
        context = sample.context
        return self.terms_of(self.features(context), context, sample.future[ACTION_KEY], sample.seed)

    def terms_of(self, features: Features, context: Context, action: Track, seed: Tensor) -> LossTerms:
        """`forward` behind the features of a context: action (B, H, A), seed (B,)."""
        tokens, tokens_valid = features.tokens, features.valid
        valid = supervised(context, action, self._required(context))
        terms = dict(self.action_head.loss_terms(tokens, action.value, valid, seed, feature_valid=tokens_valid))
        if self.behavior_cloning is not None:
            cloned = self.behavior_cloning(self.action_head.pooled(tokens, tokens_valid))
            cloned = cloned.unflatten(1, action.value.shape[1:])
            terms["behavior_cloning"] = LossTerm(cloned, action.value, valid, self.config.cloning_weight)
        if self.config.lambda_temporal:
            smoothed = terms["behavior_cloning" if self.behavior_cloning is not None else "action_loss"].prediction
            terms["temporal_loss"] = LossTerm.smoothness(smoothed, valid, self.config.lambda_temporal)
        return terms

    def _required(self, context: Context) -> list[str]:
        """Streams without which a row is not learned from."""
        if ENCODING_KEY in context.now:
            return [ENCODING_KEY]
        return [key for key in self.observation_keys() if key not in self.config.optional_cameras]

    def act(self, context: Context, state: NoiseState) -> tuple[ActionChunk, NoiseState]:
        """Return a chunk of actions (B, H, A), normalised as in training."""
        seed, state = state.decide(context.first)
        return self.actions_of(self.features(context), context, seed), state

    def actions_of(self, features: Features, context: Context, seed: Tensor) -> ActionChunk:
        """`act` behind the features of a context: seed (B,)."""
        own = own_dims(context.now, ACTION_KEY)
        return self.chunk_of(self._actions(features.tokens, features.valid, self.random_numbers(seed), own))

    def _actions(self, tokens: Tensor, valid: Tensor, numbers: Mapping[str, Tensor], own: Tensor | None) -> Tensor:
        return self.action_head.sample_with(tokens, numbers, own, feature_valid=valid)

    def random_numbers(self, seed: Tensor) -> dict[str, Tensor]:
        """Return the random numbers of a decision, by name, each (B, ...), from its seeds (B,) int64."""
        return self.action_head.random_numbers(seed)

    def features_of(self, observation: Mapping[str, Tensor]) -> Features:
        """Return `features` of the present observation as prepared tensors (B, ...) by key, all of them valid."""
        pictures = torch.stack([observation[key] for key in self.config.cameras], dim=1)
        ids = observation[TOKENS_KEY]
        state = None if self.robot_state is None else self._with_dims(observation[STATE_KEY], {})
        return Features(*self.read(pictures, ids, ids >= 0, state))

    def actions_from(self, features: Features, numbers: Mapping[str, Tensor]) -> Tensor:
        """Return actions (B, H, A), normalised, from features and `random_numbers`."""
        return self.with_gripper(self._actions(features.tokens, features.valid, numbers, None))

    def shard_units(self) -> list[nn.Module]:
        """Return the blocks of vision, projector, language model and head, whose weights FSDP puts together one at a
        time.
        """
        parts = (self.vlm.vision, self.vlm.projector, self.vlm.language)
        return [*(layer for part in parts for layer in outermost_layers(part)), *recomputed_layers(self)]

    def enable_gradient_checkpointing(self) -> None:
        """Keep only each layer's input for the backward pass, and compute the rest again; gradients are the same."""
        self.vlm.recompute_activations(True)
        super().enable_gradient_checkpointing()

    def load_vlm(self, folder: str | Path) -> None:
        """Start from the vision encoder, projector and language model of a saved model or a checkpoint.

        Raises:
            ValueError: if one is missing there, or of another size.
        """
        load_vlm_parts(self.vlm, folder)
