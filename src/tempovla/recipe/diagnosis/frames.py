"""The decisions that control would take in demonstrations, with each observation encoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tempovla.data.loader import collate
from tempovla.data.mixture import Mixture
from tempovla.data.sampler import SampleBatch
from tempovla.model.vla.context_policy import ContextPolicy
from tempovla.model.vla.features import Features
from tempovla.recipe.progress import CountProgress
from tempovla.timeline import Context, EpisodeSource, NoisyPolicy, Window
from tempovla.timeline.frames import frames_observed
from tempovla.timeline.keys import ACTION_KEY
from tempovla.timeline.noise import mix_seed
from tempovla.timeline.sample import join_contexts
from tempovla.transform.pipeline import TransformPipeline


@dataclass(frozen=True)
class Decisions:
    """Every decision of some episodes, N in all, episode after episode and each in the order of time.

    Actions are as the policy sees them, normalised.

    Attributes:
        episode: (N,) int64, the episode, counted from 0.
        number: (N,) int64, how many decisions of the same episode came before.
        seed: (N,) int64, the seed of the noise that control would draw.
        target: (N, k, A), the demonstrated actions until the next decision.
        target_valid: (N, k) bool.
        last: (N, A), the action before the decision, as recorded.
        last_valid: (N,) bool.
    """

    episode: Tensor
    number: Tensor
    seed: Tensor
    target: Tensor
    target_valid: Tensor
    last: Tensor
    last_valid: Tensor

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return int(self.episode.max()) + 1

    @property
    def longest(self) -> int:
        """Number of decisions of the longest episode."""
        return int(self.number.max()) + 1

    @classmethod
    def join(cls, parts: Sequence[Decisions]) -> Decisions:
        """Join the decisions of several batches, one after the other."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))


@dataclass(frozen=True)
class EncodedFrames:
    """Features that a policy with a context computes from each observation alone.

    Attributes:
        features: features of N frames.
        context: N rows without their pictures.
    """

    features: Features
    context: Context


@dataclass(frozen=True)
class Demonstrations:
    """The episodes of a diagnosis, and how they are read.

    Attributes:
        source: the dataset.
        episodes: their numbers in it, increasing.
        windows: the policy's windows, under the dataset's names.
        transform: the transforms that it was trained behind.
        stride: control steps between two decisions.
        seed: from which the policy's noise follows.
    """

    source: EpisodeSource
    episodes: tuple[int, ...]
    windows: tuple[Window, ...]
    transform: TransformPipeline
    stride: int
    seed: int

    def batches(self, device: torch.device | str, batch_size: int) -> Iterator[tuple[Context, Decisions]]:
        """Yield every decision once, in order: the transformed observations and the demonstrated actions."""
        mixture = Mixture([self.source], episodes=[self.episodes], ends=lambda length: range(0, length, self.stride))
        windows, (total,) = self._windows(), mixture.lengths
        with CountProgress("frames", total) as progress:
            for start in range(0, total, batch_size):
                index = np.arange(start, min(start + batch_size, total))
                sample = collate(mixture, windows, SampleBatch(np.zeros_like(index), index, torch.from_numpy(index)))
                episode, step = mixture.locate(0, index)
                context, future = self.transform.forward(sample.context.to(device), sample.to(device).future)
                target = future[ACTION_KEY].select(future[ACTION_KEY].offset < self.stride)
                last, last_valid = context.past[ACTION_KEY].at(-1)
                row = torch.from_numpy(np.searchsorted(np.array(self.episodes), episode)).to(device)
                number = torch.from_numpy(step // self.stride).to(device)
                seed = mix_seed(mix_seed(torch.full_like(row, self.seed), row), number)
                yield context, Decisions(row, number, seed, target.value, target.valid, last, last_valid)
                progress.advance(len(index))

    def _windows(self) -> tuple[Window, ...]:
        observed = tuple(window for window in self.windows if window.key != ACTION_KEY)
        asked = [offset for window in self.windows if window.key == ACTION_KEY for offset in window.offsets]
        return (*observed, Window(ACTION_KEY, tuple(sorted({*asked, *range(-1, self.stride)}))))


@torch.inference_mode()
def encode(demonstrations: Demonstrations, policy: ContextPolicy, batch_size: int) -> tuple[Decisions, EncodedFrames]:
    """Return the features of every frame, from which any context can be built without encoding pictures again.

    Raises:
        ValueError: if there is a frame at which nothing was observed.
    """
    decisions, tokens, valid, contexts = [], [], [], []
    for context, part in demonstrations.batches(policy.device, batch_size):
        if not bool(frames_observed(context, policy.base.observation_keys(), (0,)).all()):
            raise ValueError(
                f"{demonstrations.source.name}: has frames without any observation of "
                f"{policy.base.observation_keys()}; leave these episodes out of the dataset"
            )
        now = replace(context, past={}, first=torch.zeros_like(context.first))
        features = policy.base.features(now)
        kept = {key: track for key, track in now.now.items() if not track.holds_frames}
        decisions.append(part)
        tokens.append(features.tokens)
        valid.append(features.valid)
        contexts.append(replace(now, now=kept))
    return Decisions.join(decisions), EncodedFrames(
        Features(torch.cat(tokens), torch.cat(valid)), join_contexts(contexts)
    )


@torch.inference_mode()
def decide(demonstrations: Demonstrations, policy: Any, batch_size: int) -> tuple[Decisions, Tensor]:
    """Return the actions (N, k, A), normalised, of a policy that remembers nothing, at every decision.

    Raises:
        ValueError: if its chunks are shorter than the stride.
    """
    decisions, predicted, stride = [], [], demonstrations.stride
    for context, part in demonstrations.batches(policy.device, batch_size):
        state = policy.initial_state(context.batch_size)
        if isinstance(policy, NoisyPolicy):
            state = policy.with_seeds(state, part.seed)
        chunk, _ = policy.act(context, state)
        if chunk.length < stride:
            raise ValueError(
                f"stride={stride} exceeds the policy's chunk of {chunk.length} actions; shorten the stride"
            )
        decisions.append(part)
        predicted.append(chunk.value[:, :stride].float())
    return Decisions.join(decisions), torch.cat(predicted)
