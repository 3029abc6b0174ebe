"""A policy that sees one frame at a time, and a context that adds to its features what came before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from tempovla.model.temporal.context import ContextModule, ContextState, Frames
from tempovla.model.temporal.context_config import ContextConfig
from tempovla.model.vla.features import FeaturePolicy
from tempovla.model.vla.noise_state import NoiseState
from tempovla.model.vla.wrapped_policy import WrappedPolicy
from tempovla.timeline import ActionChunk, Context, LossTerms, TimelineSample, Window
from tempovla.timeline.frames import FrameIndex, actions_before, frame_actions, frame_context, frames_observed
from tempovla.timeline.keys import ACTION_KEY, ENCODING_KEY
from tempovla.timeline.noise import mix_seed

_FRAME_STREAM = 0x4652

P = TypeVar("P", bound=FeaturePolicy)


@dataclass(frozen=True)
class ContextPolicyState:
    """The source of the noise, and the state of the context."""

    noise: NoiseState
    context: ContextState


class ContextPolicy(WrappedPolicy, Generic[P]):
    """A policy that acts at every `stride`-th control step on the features of that frame and of the frames before.

    Args:
        base: a policy of one frame, which computes features and has the action head.
        config: the parts of the context, the stride and the training windows.

    Raises:
        ValueError: if the stride exceeds the chunk of actions, or a part does not fit the features.
    """

    def __init__(self, base: P, config: ContextConfig) -> None:
        super().__init__()
        config.check_stride(base.horizon)
        self.base: P = base
        self.context = ContextModule(config, base.feature_dim, base.config.action_dim)
        if config.freeze_base:
            base.freeze_features()

    @property
    def frame_stride(self) -> int:
        """Control steps between two frames, in training as in control."""
        return self.context.config.stride

    @property
    def horizon(self) -> int:
        """Steps of a chunk of actions."""
        return int(self.base.horizon)

    @property
    def device(self) -> torch.device:
        """Where the weights live."""
        return next(self.parameters()).device

    def windows(self) -> tuple[Window, ...]:
        """Return the windows for acting: observations now, and actions from now on or from the last frame on."""
        first = -self.frame_stride if self.context.reads_actions else 0
        actions = Window(ACTION_KEY, tuple(range(first, self.horizon)))
        return (*(Window(key, (0,)) for key in self.base.observation_keys()), actions)

    def training_windows(self) -> tuple[Window, ...]:
        """Return the windows for training: observations at the frames of a sequence, and the actions around them."""
        offsets = self.context.config.offsets
        first = offsets[0] - (self.frame_stride if self.context.reads_actions else 0)
        actions = Window(ACTION_KEY, tuple(range(first, self.horizon)))
        return (*(Window(key, offsets) for key in self.base.observation_keys()), actions)

    def window_ends(self, length: int) -> list[int]:
        """Return the ends of windows which together learn from every control step once."""
        config = self.context.config
        reach = config.stride * config.sequence_length
        last = [length - 1 - phase for phase in range(config.stride)]
        return sorted(step for end in last for step in range(end, -1, -reach))

    @torch.no_grad()
    def summarize(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return the features (B, D) of the present frame, as the context reads them, and (B,) whether it was
        observed.
        """
        observed = frames_observed(context, self._observed_keys(context), (0,))
        return self.base.features(replace(context, past={})).summary, observed[:, 0]

    def initial_state(self, batch_size: int) -> ContextPolicyState:
        """Return the state of rows that have seen nothing and drawn no noise."""
        return ContextPolicyState(NoiseState.initial(batch_size, self.device), self.context.initial_state(batch_size))

    def with_seeds(self, state: ContextPolicyState, seed: Tensor) -> ContextPolicyState:
        """Return the state with every row's noise drawn from its seed (B,)."""
        return replace(state, noise=state.noise.with_seeds(seed))

    def forward(self, sample: TimelineSample) -> LossTerms:
        """Return the loss terms of the head at all frames that are learned from."""
        config, batch = self.context.config, sample.batch_size
        observed = frames_observed(sample.context, self._observed_keys(sample.context), config.offsets)
        warm = torch.arange(config.frames, device=observed.device) < config.burn_in
        learned = FrameIndex.where(_at_least_one(observed & ~warm), config.offsets)
        context = frame_context(sample.context, learned)
        features = self.base.features(context)
        summary = learned.scatter(features.summary, batch)
        if config.burn_in:
            summary = summary + self._warm(sample.context, observed & warm)
        past = self.context.learn(Frames(summary, observed, *self._actions_before(sample.context, config.offsets)))
        seed = mix_seed(sample.seed[learned.row], _FRAME_STREAM + learned.place)
        action = frame_actions(sample, learned, self.horizon)
        return self.base.terms_of(features.plus(learned.gather(past)), context, action, seed)

    def act(self, context: Context, state: ContextPolicyState) -> tuple[ActionChunk, ContextPolicyState]:
        """Return a chunk of actions (B, H, A), normalised as in training; `frame_stride` of them are to be executed."""
        seed, noise = state.noise.decide(context.first)
        observed = frames_observed(context, self._observed_keys(context), (0,))
        now = replace(context, past={})
        features = self.base.features(now)
        actions, done = self._actions_before(context, (0,))
        frames = Frames(features.summary[:, None], observed, actions, done & ~context.first[:, None])
        past, after = self.context.run(frames, state.context.reset(context.first))
        chunk = self.base.actions_of(features.plus(past[:, 0]), now, seed)
        return chunk, ContextPolicyState(noise, after)

    def decide(
        self,
        observation: Mapping[str, Tensor],
        numbers: Mapping[str, Tensor],
        first: Tensor,
        known: Tensor | None,
        state: ContextState,
    ) -> tuple[Tensor, ContextState]:
        """`act` on tensors alone, all of them valid, as an exported graph runs it.

        Args:
            observation: what is seen now, by key and prepared as in training, (B, ...); under the key of actions those
                that were executed since the last decision (B, stride, A), if the history is read.
            numbers: the value of `random_numbers`.
            first: (B,) bool, rows whose episode begins.
            known: (B,) bool, rows in which these actions are known; None if the history is not read.
            state: of `context.initial_state`, or of the decision before.

        Returns:
            Actions (B, H, A), normalised, and the next state.
        """
        features, context = self.base.features_of(observation), self.context
        summary = features.summary
        there = torch.ones_like(first)[:, None]
        if known is None:
            actions, done = summary.new_zeros(first.shape[0], 1, context.action_width), torch.zeros_like(there)
        else:
            done = (known & ~first)[:, None]
            actions = torch.where(done, observation[ACTION_KEY].flatten(1), 0.0)[:, None]
        said, after = context.run(Frames(summary[:, None], there, actions, done, complete=True), state.reset(first))
        return self.base.actions_from(features.plus(said[:, 0]), numbers), after

    def random_numbers(self, seed: Tensor) -> dict[str, Tensor]:
        """Return the random numbers of a decision, by name, each (B, ...), from its seeds (B,) int64."""
        return self.base.random_numbers(seed)

    def after_step(self, train_step: int) -> None:
        """Call `after_step` of the base policy."""
        self.base.after_step(train_step)

    def shard_units(self) -> list[nn.Module]:
        """Return the base's blocks, whose weights FSDP gathers one at a time."""
        return self.base.shard_units()

    def _observed_keys(self, context: Context) -> tuple[str, ...]:
        return (ENCODING_KEY,) if ENCODING_KEY in context.now else self.base.observation_keys()

    @torch.no_grad()
    def _warm(self, context: Context, chosen: Tensor) -> Tensor:
        """Return the summaries (B, T, D) of frames that are only read, and zeros elsewhere."""
        index = FrameIndex.where(_at_least_one(chosen), self.context.config.offsets)
        summary = index.scatter(self.base.features(frame_context(context, index)).summary, len(chosen))
        return torch.where(chosen[..., None], summary, 0.0)

    def _actions_before(self, context: Context, offsets: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        if self.context.reads_actions:
            return actions_before(context, offsets, self.frame_stride)
        shape = (context.batch_size, len(offsets))
        device = context.device
        return torch.zeros(*shape, self.context.action_width, device=device), torch.zeros(
            shape, dtype=torch.bool, device=device
        )


def _at_least_one(chosen: Tensor) -> Tensor:
    """Return the frames (B, T) to encode; if no row has any, one frame, whose result is not used.

    An encoder takes no empty batch, and where processes share its weights (FSDP), all of them have to call it.
    """
    if bool(chosen.any()):
        return chosen
    newest = torch.zeros_like(chosen)
    newest[0, -1] = True
    return newest


def with_context(policy: P) -> P | ContextPolicy[P]:
    """Return the policy itself, or a `ContextPolicy` around it if its config has a context."""
    config: ContextConfig | None = policy.config.context
    return policy if config is None else ContextPolicy(policy, config)


def in_saved_context(policy: Any, weights: Mapping[str, Tensor]) -> Any:
    """Return the policy itself, or one in the context of its config if the saved weights belong to such a policy."""
    return with_context(policy) if any(name.startswith("context.") for name in weights) else policy


def base_of(policy: P | ContextPolicy[P]) -> P:
    """Return the policy of one frame inside a context, or the policy itself."""
    return policy.base if isinstance(policy, ContextPolicy) else policy


def base_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a policy of one frame, from its own weights or those of a policy in a context."""
    inside = {name.removeprefix("base."): value for name, value in weights.items() if name.startswith("base.")}
    return inside or dict(weights)
