"""Encoders of one stream of a history, its states or its actions, and the sizes of all history encoders."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tempovla.model.layers.mlp import mlp
from tempovla.model.temporal.history_attention import HistoryBlock, StepMask


@dataclass(frozen=True, kw_only=True)
class HistoryCoreConfig:
    """Options of a history encoder that do not depend on the features around it.

    Attributes:
        history_length: the most steps that are encoded, and that are remembered online.
        num_layers: blocks of each transformer.
        num_heads: attention heads; they divide hidden_dim and output_dim.
        dropout: probability in attention, feed-forward layers and residuals, in training.
        use_action_embedding: actions enter through a learned MLP; otherwise through one linear map.
        use_timestep_embedding: attention knows the age of each step; otherwise only what is in it, and that it is past.
    """

    history_length: int = 16
    num_layers: int = 2
    num_heads: int = 8
    dropout: float = 0.1
    use_action_embedding: bool = True
    use_timestep_embedding: bool = True

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        kind = type(self).__name__
        for name in ("history_length", "num_layers", "num_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{kind}.{name}={getattr(self, name)} must be at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"{kind}.dropout={self.dropout} must be at least 0 and below 1")


@dataclass(frozen=True)
class HistoryEncoderConfig(HistoryCoreConfig):
    """Sizes of the history encoders.

    Attributes:
        obs_dim: size of a state, or of the feature of an observation.
        action_dim: size of an action.
        hidden_dim: width of the transformers.
        output_dim: size of every encoding.
    """

    obs_dim: int = 768
    action_dim: int = 7
    hidden_dim: int = 512
    output_dim: int = 768

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        super().__post_init__()
        for name in ("obs_dim", "action_dim", "hidden_dim", "output_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"HistoryEncoderConfig.{name}={getattr(self, name)} must be at least 1")
        for name in ("hidden_dim", "output_dim"):
            if getattr(self, name) % self.num_heads:
                raise ValueError(
                    f"HistoryEncoderConfig.{name}={getattr(self, name)} is not divisible by "
                    f"num_heads={self.num_heads}; choose heads that divide it"
                )

    @property
    def max_age(self) -> int | None:
        """Number of ages that have an embedding."""
        return self.history_length if self.use_timestep_embedding else None


@dataclass(frozen=True, kw_only=True)
class HistoryPartConfig(HistoryCoreConfig):
    """Options of a policy's history encoder, whose other sizes follow from the policy.

    Attributes:
        hidden_dim: width of the transformers; None takes the width of the policy's features.
    """

    hidden_dim: int | None = None

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        if self.history_length < 1:
            raise ValueError(
                f"history_length={self.history_length} must be at least 1; leave the history encoder out instead"
            )
        super().__post_init__()
        if self.hidden_dim is not None:
            HistoryEncoderConfig(hidden_dim=self.hidden_dim, output_dim=self.num_heads, num_heads=self.num_heads)

    @classmethod
    def upgraded_json(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Options as an earlier version wrote them, where an unset width meant 512."""
        return {"hidden_dim": 512} | data

    def encoder_config(self, feature_dim: int, action_dim: int) -> HistoryEncoderConfig:
        """The encoder of a policy with `feature_dim` features, and `action_dim` numbers in an action of a step."""
        options = {field.name: getattr(self, field.name) for field in fields(HistoryCoreConfig)}
        return HistoryEncoderConfig(
            obs_dim=feature_dim,
            action_dim=action_dim,
            hidden_dim=feature_dim if self.hidden_dim is None else self.hidden_dim,
            output_dim=feature_dim,
            **options,
        )


class EncodedHistory(NamedTuple):
    """What became of one stream of a history.

    Attributes:
        encoding: (B, output_dim) of the newest valid step; a learned null where there is none.
        sequence: (B, T, output_dim) of each step, which knows this and the earlier ones; 0 where invalid.
    """

    encoding: Tensor
    sequence: Tensor


class StreamEncoder(nn.Module):
    """A causal transformer over the steps of one stream.

    Args:
        entry: from a step's values to hidden_dim.
        config: sizes.
    """

    def __init__(self, entry: nn.Module, config: HistoryEncoderConfig) -> None:
        super().__init__()
        self.entry = entry
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            HistoryBlock(config.hidden_dim, config.num_heads, config.max_age, config.dropout)
            for _ in range(config.num_layers)
        )
        self.out = nn.Sequential(nn.LayerNorm(config.hidden_dim), nn.Linear(config.hidden_dim, config.output_dim))
        self.null = nn.Parameter(0.02 * torch.randn(config.output_dim))
        self.history_length = config.history_length

    def encode(self, values: Tensor, content: Tensor, steps: Tensor) -> EncodedHistory:
        """Encode values (B, T, F), known where `content` (B, T), of steps that there were where `steps` (B, T)."""
        if values.shape[1] > self.history_length:
            raise ValueError(
                f"a history of {values.shape[1]} steps is longer than history_length={self.history_length}; "
                "raise it, give the newest steps, or encode every window with HistoryEncoder.sequence"
            )
        mask = StepMask.causal(steps, content)
        x = self.dropout(self.entry(clean(values, content).to(self.null.dtype)))
        for block in self.blocks:
            x = block(x, mask)
        sequence = clean(self.out(x), content)
        return EncodedHistory(newest(sequence, content, self.null), sequence)


class StateHistoryEncoder(StreamEncoder):
    """Encodes past states.

    Args:
        config: sizes.
    """

    def __init__(self, config: HistoryEncoderConfig) -> None:
        super().__init__(nn.Linear(config.obs_dim, config.hidden_dim), config)
        self.obs_dim = config.obs_dim

    def forward(self, states: Tensor, valid: Tensor | None = None) -> EncodedHistory:
        """Encode states (B, T, obs_dim), of which there are those where `valid` (B, T): all, if it is None.

        Raises:
            ValueError: if the shapes do not fit, or there are more than history_length steps.
        """
        steps = checked("states", states, self.obs_dim, valid)
        return self.encode(states, steps, steps)


class ActionHistoryEncoder(StreamEncoder):
    """Encodes past actions.

    Args:
        config: sizes.
    """

    def __init__(self, config: HistoryEncoderConfig) -> None:
        sizes = [config.action_dim, config.hidden_dim]
        super().__init__(mlp([*sizes, config.hidden_dim] if config.use_action_embedding else sizes), config)
        self.action_dim = config.action_dim

    def forward(self, actions: Tensor, valid: Tensor | None = None, steps: Tensor | None = None) -> EncodedHistory:
        """Encode actions (B, T, action_dim), known where `valid` (B, T): all, if it is None.

        `steps` (B, T), as `valid` if None, tells steps without a known action, which take time, from padding.

        Raises:
            ValueError: if the shapes do not fit, or there are more than history_length steps.
        """
        content = checked("actions", actions, self.action_dim, valid)
        steps = content if steps is None else checked("actions", actions, self.action_dim, steps)
        return self.encode(actions, content & steps, steps)


def clean(values: Tensor, valid: Tensor) -> Tensor:
    """Values (B, T, F) with 0 where `valid` (B, T) is False, whatever was there."""
    return torch.where(valid[..., None], values, 0.0)


def newest(sequence: Tensor, valid: Tensor, null: Tensor) -> Tensor:
    """The last valid step (B, D) of a sequence (B, T, D), `null` (D,) for rows without one."""
    nulls = null.expand(len(sequence), 1, -1).to(sequence.dtype)
    if not valid.shape[1]:
        return nulls[:, 0]
    place = (valid * torch.arange(1, valid.shape[1] + 1, device=valid.device)).amax(dim=1)
    return torch.cat([nulls, sequence], dim=1).take_along_dim(place[:, None, None], dim=1)[:, 0]


def checked(name: str, values: Tensor, size: int, valid: Tensor | None) -> Tensor:
    """The validity (B, T) of values (B, T, size): all, if it is None.

    Raises:
        ValueError: if either has another shape.
    """
    if values.dim() != 3 or values.shape[2] != size:
        raise ValueError(f"{name} {tuple(values.shape)} must be (rows, steps, {size})")
    if valid is None:
        return torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    if valid.shape != values.shape[:2]:
        raise ValueError(f"validity {tuple(valid.shape)} of {name} must be {tuple(values.shape[:2])}, one a step")
    return valid.to(values.device).bool()
