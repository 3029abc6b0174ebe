"""SmolVLA (Shukor et al., 2025, arXiv:2506.01844): a SmolVLM, and beside it an action expert that learns by flow
matching.

What comes from where: the first layers of the language model, the interleaved attention of the expert and the state as
one token behind the instruction from the paper; names, sizes, masks and positions from LeRobot's public code
(huggingface/lerobot, policies/smolvla). What differs: dimensions of actions beyond a body's own are not trained on, and
go from noise to zero on the straight line, as they do in training; what is not observed is left out of the attention;
the instruction is read before the state, which it never sees, so that a frozen model keeps no activations of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.action_head.base import clean_chunk, repeat_rows
from tempovla.model.action_head.flow_matching import Velocity, integrate, velocity_pair
from tempovla.model.fusion.state_encoder import AllTokensReadout
from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.stacks import outermost_layers
from tempovla.model.vla.chunk_policy import ChunkPolicy
from tempovla.model.vla.noise_state import NoiseState
from tempovla.model.vla.observation import all_observed, observed_vector, own_dims, supervised
from tempovla.model.vla.smolvla_checkpoint import is_lerobot, lerobot_config, load_lerobot
from tempovla.model.vla.smolvla_config import SmolVLAConfig
from tempovla.model.vla.smolvla_expert import ActionExpert, ExpertMemory
from tempovla.model.vla.smolvla_features import SmolVLAFeatures
from tempovla.model.vla.weights import WeightsFollow
from tempovla.model.vlm.pretrained import local_folder
from tempovla.model.vlm.smolvlm import SmolVLMBackbone
from tempovla.timeline import ActionChunk, Context, LossTerm, LossTerms, TimelineSample, Track
from tempovla.timeline.hub import from_disk_alone
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY, TOKENS_KEY
from tempovla.timeline.noise import row_normal, row_uniform


class SmolVLAWrapper(ChunkPolicy):
    """The policy.

    Attributes:
        vlm: the vision-language model.
        expert: the action expert.
        config: with what was read from the pretrained model filled in; a policy built from it reads nothing.

    Raises:
        ValueError: if the model does not load, or the parts do not fit.
    """

    kind = "smolvla"
    config_class = SmolVLAConfig
    config: SmolVLAConfig

    def __init__(self, config: SmolVLAConfig) -> None:
        super().__init__()
        pretrained = config.vlm.architecture is None
        frozen = pretrained if config.train_expert_only is None else config.train_expert_only
        frozen_vision = pretrained if config.freeze_vision_encoder is None else config.freeze_vision_encoder
        if config.cloning_weight and frozen and config.lora is None:
            raise ValueError(
                f"model.cloning_weight={config.cloning_weight} teaches the vision-language model, which is frozen; set "
                "it to 0, or model.train_expert_only to false"
            )
        self.vlm = SmolVLMBackbone(config.vlm, freeze=frozen, hidden_states=config.cloning_weight > 0)
        self.config = replace(
            config, vlm=self.vlm.config, train_expert_only=frozen, freeze_vision_encoder=frozen_vision, lora=None
        )
        self.state_proj = None
        if config.robot_state_dim is not None:
            self.state_proj = nn.Linear(config.max_state_dim, self.vlm.hidden_dim)
            self.state_proj.requires_grad_(config.train_state_proj)
        self.expert = ActionExpert(self.config, self.vlm)
        self.behavior_cloning = None
        if config.cloning_weight:
            chunk, width = config.chunk_size * config.action_dim, config.cloning_feature_dim
            readout = AllTokensReadout(self.vlm.hidden_dim, width, self._num_tokens(), config.cloning_token_dim)
            self.behavior_cloning = nn.Sequential(readout, nn.GELU(), nn.Linear(width, chunk))
        if frozen:
            self.vlm.requires_grad_(False)
        elif frozen_vision and self.vlm.vision_model is not None:
            self.vlm.vision_model.requires_grad_(False)
        if config.lora is not None:
            self.enable_lora(config.lora.r, config.lora.alpha, config.lora.target_modules)

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, vlm_model_name: str | None = None, **fields: Any) -> Any:
        """Return a policy in evaluation mode, from what `save_pretrained` wrote or a checkpoint of LeRobot's.

        Args:
            folder: a local folder, or a name on the hub such as ``lerobot/smolvla_base``.
            vlm_model_name: of a checkpoint of LeRobot's, name or folder of the SmolVLM whose config.json gives the
                sizes; None takes the one that it names. Its weights are not read.
            fields: of the config, instead of what is saved, such as `cameras` or `action_dim`.

        Raises:
            ValueError: if there is no such checkpoint, or it does not fit.
        """
        is_local = Path(folder).is_dir()  # who names a checkpoint on the hub asks for what it needs from there
        folder = local_folder(str(folder), "SmolVLA checkpoint")
        if not is_lerobot(folder):
            return super().from_pretrained(folder, **fields)
        with from_disk_alone(is_local and vlm_model_name is None):
            config = lerobot_config(folder, vlm_model_name, fields)
        with WeightsFollow():
            policy = cls(config)
        load_lerobot(policy, folder)
        return policy.eval()

    @property
    def language_model(self) -> nn.Module:
        """The part that gets adapters."""
        return self.vlm.text_model

    @property
    def horizon(self) -> int:
        """Steps of a chunk of actions."""
        return self.config.chunk_size

    def _num_tokens(self) -> int:
        pictures = len(self.config.cameras) * self.vlm.num_image_tokens
        return pictures + self.config.max_instruction_tokens + int(self.state_proj is not None)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        if self.config.train_expert_only:
            self.vlm.eval()
        elif self.config.freeze_vision_encoder and self.vlm.vision_model is not None:
            self.vlm.vision_model.eval()
        return self

    @property
    def feature_dim(self) -> int:
        """Width of what a context reads of a frame and adds to it: that of a token."""
        return self.vlm.hidden_dim

    def freeze_features(self) -> None:
        """Leave only the expert to learn."""
        self.vlm.requires_grad_(False)
        if self.state_proj is not None:
            self.state_proj.requires_grad_(False)

    def features(self, context: Context) -> SmolVLAFeatures:
        """Return the language model's features of the present observation."""
        pictures, seen = zip(*(context.now[key].at(0) for key in self.config.cameras), strict=True)
        ids, told = context.now[TOKENS_KEY].at(0)
        words = told[:, None] & (ids >= 0)
        state = known = None
        if self.state_proj is not None:
            state, known = observed_vector(context.now, STATE_KEY), all_observed(context.now, (STATE_KEY,))
        return self.read(pictures, torch.stack(seen, dim=1), ids, words, state, known)

    def read(
        self,
        pictures: Sequence[Tensor],
        seen: Tensor,
        ids: Tensor,
        words: Tensor,
        state: Tensor | None,
        known: Tensor | None,
    ) -> SmolVLAFeatures:
        """`features` of tensors alone.

        Pictures and instruction see each other; the state sees them, but is not seen. What is not valid is left out.

        Args:
            pictures: (B, 3, H, W) uint8 or float [0, 1], one a camera.
            seen: (B, V) bool, False where a camera gave no picture.
            ids: (B, L) int64 token ids of the instruction.
            words: (B, L) bool, True where there is a token.
            state: (B, robot_state_dim) normalised, if it is read.
            known: (B,) bool, False where there is no state.
        """
        learns = any(weight.requires_grad for weight in self.vlm.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and learns):
            tokens, there = self.vlm.embed_pictures(pictures, seen)
            tokens = torch.cat([tokens, self.vlm.embed_words(ids, words)], dim=1)
            hidden, cache = self.vlm.extend(tokens, torch.cat([there, words], dim=1))
        if self.state_proj is not None:
            assert state is not None
            assert known is not None
            state = F.pad(state, (0, self.config.max_state_dim - state.shape[-1]))
            state = self.state_proj(in_dtype_of(self.state_proj, state))
            last, cache = self.vlm.extend(state[:, None], known[:, None], cache)
            hidden = torch.cat([hidden, last], dim=1)
        return SmolVLAFeatures(hidden, cache)

    def remember(self, features: SmolVLAFeatures) -> ExpertMemory:
        """Return the expert's keys and values: those of the prefix, and behind them the context's."""
        cache = features.cache
        if features.past is not None:
            there = torch.ones_like(cache.valid[:, :1])
            _, cache = self.vlm.extend(features.past[:, None], there, cache)
        return self.expert.remember(cache)

    def forward(self, sample: TimelineSample) -> LossTerms:
        """`action_loss`, which is flow matching's, and, with `cloning_weight`, `behavior_cloning`."""
        context = sample.context
        return self.terms_of(self.features(context), context, sample.future[ACTION_KEY], sample.seed)

    def terms_of(self, features: SmolVLAFeatures, context: Context, action: Track, seed: Tensor) -> LossTerms:
        """`forward` behind the features of a context: action (B, H, A), seed (B,)."""
        config, memory = self.config, self.remember(features)
        valid = supervised(context, action, self.observation_keys())
        clean, full = clean_chunk("SmolVLA", action.value, valid, config.chunk_size, config.action_dim)
        rows, draws = len(clean), config.draws
        noise = row_normal(seed, (draws, config.chunk_size, config.max_action_dim), stream=1).flatten(0, 1)
        flow_time = draw_flow_time(row_uniform(seed, (draws,), stream=2), config.flow_time_alpha).flatten()
        padded, repeated = repeat_rows(draws, F.pad(clean, (0, config.max_action_dim - config.action_dim)), full)
        predicted, target = velocity_pair(self._velocity(memory, rows), padded, noise, flow_time)
        own = slice(config.action_dim)
        terms = {"action_loss": LossTerm(predicted[..., own], target[..., own], repeated)}
        if self.behavior_cloning is not None:
            there = features.cache.valid[..., None]
            tokens = torch.where(there, features.hidden, 0.0).to(memory.layers[0][0].dtype)
            cloned = self.behavior_cloning(tokens).unflatten(1, clean.shape[1:])
            terms["behavior_cloning"] = LossTerm(cloned, clean, full, config.cloning_weight)
        return terms

    def act(self, context: Context, state: NoiseState) -> tuple[ActionChunk, NoiseState]:
        """Return a chunk of actions (B, H, A), normalised as in training; pictures and words are read once."""
        seed, state = state.decide(context.first)
        with torch.no_grad():
            return self.actions_of(self.features(context), context, seed), state

    @torch.no_grad()
    def actions_of(self, features: SmolVLAFeatures, context: Context, seed: Tensor) -> ActionChunk:
        """`act` behind the features of a context: seed (B,)."""
        own, noise = own_dims(context.now, ACTION_KEY), self.random_numbers(seed)["normal"]
        actions = self.sample_from(self.remember(features), noise, own)
        return self.chunk_of(actions[..., : self.config.action_dim])

    def features_of(self, observation: Mapping[str, Tensor]) -> SmolVLAFeatures:
        """Return `features` of the present observation as prepared tensors (B, ...) by key, all of them valid."""
        pictures, ids = [observation[key] for key in self.config.cameras], observation[TOKENS_KEY]
        there = torch.ones_like(ids[:, :1], dtype=torch.bool)
        state = None if self.state_proj is None else observation[STATE_KEY]
        return self.read(pictures, there.expand(-1, len(pictures)), ids, ids >= 0, state, there[:, 0])

    def actions_from(self, features: SmolVLAFeatures, numbers: Mapping[str, Tensor]) -> Tensor:
        """Return actions (B, H, A), normalised, from features and `random_numbers`."""
        actions = self.sample_from(self.remember(features), numbers["normal"])
        return self.with_gripper(actions[..., : self.config.action_dim])

    def random_numbers(self, seed: Tensor) -> dict[str, Tensor]:
        """Return the random numbers of a decision, by name, each (B, ...), from its seeds (B,) int64."""
        return {"normal": row_normal(seed, (self.config.chunk_size, self.config.max_action_dim))}

    def sample_from(self, memory: ExpertMemory, noise: Tensor, own: Tensor | None = None) -> Tensor:
        """Return actions (B, H, max_action_dim) from standard normal noise of that shape; zeros beyond the body's own.

        Args:
            memory: the keys and values of the prefix.
            noise: where it begins.
            own: (B, action_dim) bool, dimensions that a body has, where not all bodies have all.
        """
        config, velocity = self.config, self._velocity(memory, noise.shape[0])
        own = noise.new_ones(noise.shape[0], config.action_dim, dtype=torch.bool) if own is None else own
        learned = F.pad(own, (0, config.max_action_dim - config.action_dim))[:, None]
        return integrate(lambda x, time: torch.where(learned, velocity(x, time), noise), noise, config.num_steps)

    def _velocity(self, memory: ExpertMemory, rows: int) -> Velocity:
        """The velocity field, for one or several chunks a row, one after the other."""

        def velocity(x: Tensor, flow_time: Tensor) -> Tensor:
            of_row, time = x.unflatten(0, (rows, -1)), flow_time.unflatten(0, (rows, -1))
            return self.expert.velocity(of_row, time, memory, self.vlm).flatten(0, 1)

        return velocity

    def shard_units(self) -> list[nn.Module]:
        """Return the layers of SigLIP, and of language model and expert the feed-forward halves, which FSDP takes one
        by one.

        The other halves are not among them: their keys and values are also made apart from the layer.
        """
        vision = [] if self.vlm.vision_model is None else outermost_layers(self.vlm.vision_model)
        halves = [layer.mlp for layer in (*self.vlm.text_model.layers, *self.expert.layers)]
        return [*vision, *(half for half in halves if not isinstance(half, nn.Identity))]

    def enable_gradient_checkpointing(self) -> None:
        """Keep only each layer's input for the backward pass, and compute the rest again; gradients are the same."""
        self.vlm.recompute_activations()
        super().enable_gradient_checkpointing()


def draw_flow_time(uniform: Tensor, alpha: float) -> Tensor:
    """Return flow times in [0.001, 1], from Beta(alpha, 1) by its inverse distribution function, as LeRobot shifts
    them.
    """
    return 0.001 + 0.999 * uniform ** (1.0 / alpha)
