"""Sizes and options of the history encoders, for use on their own and in a policy."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class HistoryCoreConfig:
    """Options of a history encoder that do not depend on the features around it.

    Attributes:
        history_length: the largest number of steps that are encoded and remembered.
        num_layers: blocks of each transformer.
        num_heads: attention heads; they divide hidden_dim and output_dim.
        dropout: probability in attention, feed-forward layers and residuals, in training.
        use_action_embedding: actions enter through a learned MLP; otherwise through one linear map.
        use_timestep_embedding: attention reads the age of each step; otherwise only the contents of past steps.
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
        """Return options of an earlier version, in which an unset width meant 512, as this version writes them."""
        return {"hidden_dim": 512} | data

    def encoder_config(self, feature_dim: int, action_dim: int) -> HistoryEncoderConfig:
        """Return the config of the encoder in a policy with this many features and numbers in an action."""
        options = {field.name: getattr(self, field.name) for field in fields(HistoryCoreConfig)}
        return HistoryEncoderConfig(
            obs_dim=feature_dim,
            action_dim=action_dim,
            hidden_dim=feature_dim if self.hidden_dim is None else self.hidden_dim,
            output_dim=feature_dim,
            **options,
        )
