"""A policy in two halves: one computes features of an observation, the other computes actions from features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tempovla.model.action_head.base import mean_token
from tempovla.timeline import ActionChunk, Context, LossTerm, Track


@dataclass(frozen=True)
class Features:
    """The input of an action head.

    Attributes:
        tokens: (B, L, D).
        valid: (B, L) bool.
    """

    tokens: Tensor
    valid: Tensor

    @property
    def summary(self) -> Tensor:
        """(B, D) mean of the valid tokens."""
        return mean_token(self.tokens, self.valid)

    def plus(self, context: Tensor) -> Features:
        """Return the same with (B, D) added to every token."""
        return Features(self.tokens + context[:, None].to(self.tokens.dtype), self.valid)


class FeaturePolicy(Protocol):
    """A policy of one frame, in two halves: from an observation to features, and from features to actions."""

    config: Any

    @property
    def feature_dim(self) -> int:
        """Width D of the features."""

    @property
    def horizon(self) -> int:
        """Steps H of a chunk of actions."""

    @property
    def device(self) -> torch.device:
        """Where the weights live."""

    def observation_keys(self) -> tuple[str, ...]:
        """Return the streams that are read."""

    def features(self, context: Context) -> Features:
        """Return the features of the present observation."""

    def terms_of(self, features: Features, context: Context, action: Track, seed: Tensor) -> dict[str, LossTerm]:
        """Return loss terms of the head: action (B, H, A), seed (B,) int64."""

    def actions_of(self, features: Features, context: Context, seed: Tensor) -> ActionChunk:
        """Return a chunk of actions (B, H, A), noise drawn from seed (B,) int64."""

    def features_of(self, observation: Mapping[str, Tensor]) -> Any:
        """Return `features` of the present observation as prepared tensors (B, ...) by key, all of them valid."""

    def actions_from(self, features: Any, numbers: Mapping[str, Tensor]) -> Tensor:
        """Return actions (B, H, A), normalised, from features and `random_numbers`."""

    def random_numbers(self, seed: Tensor) -> dict[str, Tensor]:
        """Return the random numbers of a decision, by name, each (B, ...), from its seeds (B,) int64."""

    def freeze_features(self) -> None:
        """Let nothing learn on which features depend."""

    def after_step(self, train_step: int) -> None:
        """As `Policy.after_step`."""

    def shard_units(self) -> list[nn.Module]:
        """Return the blocks whose weights FSDP puts together one at a time."""
