"""Sizes of a world model without a decoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from tempovla.model.layers.activation import Activation


@dataclass(frozen=True)
class LatentDynamicsConfig:
    """Sizes of the model; the defaults are those of TD-MPC2 with five million weights.

    Attributes:
        latent_dim: size D of the latent state, a multiple of `group_dim`.
        group_dim: numbers of a group of the simplicial normalisation.
        encoder_dim: width of the encoder of the robot's state.
        normalize_state: whether the encoder reads the state by its running mean and standard deviation. It finds small
            motions in large numbers, such as those of positions [m].
        channels: of the convolutions over pictures.
        hidden_dim: width of all other perceptrons.
        num_values: number of value functions.
        dropout: in the value functions.
        activation: of all perceptrons, `mish` or `silu`, which is faster on a CPU.
        bins: number of bins of rewards and values.
        symlog_range: of the bins, to both sides of 0.
        log_std_min: least logarithm of the policy's standard deviation.
        log_std_max: greatest one.
        value_tau: share of the learned values in their slow copy after each step.
        predicts_end: whether the model predicts that an episode terminates.
    """

    latent_dim: int = 512
    group_dim: int = 8
    encoder_dim: int = 256
    normalize_state: bool = False
    channels: int = 32
    hidden_dim: int = 512
    num_values: int = 5
    dropout: float = 0.01
    activation: Activation = "mish"
    bins: int = 101
    symlog_range: float = 10.0
    log_std_min: float = -10.0
    log_std_max: float = 2.0
    value_tau: float = 0.01
    predicts_end: bool = False

    def __post_init__(self) -> None:
        for name in ("latent_dim", "group_dim", "encoder_dim", "channels", "hidden_dim", "num_values"):
            if getattr(self, name) < 1:
                raise ValueError(f"dynamics.{name}={getattr(self, name)} must be at least 1")
        if self.latent_dim % self.group_dim:
            raise ValueError(
                f"dynamics.latent_dim={self.latent_dim} is no multiple of group_dim={self.group_dim}; change one"
            )
        if self.activation not in get_args(Activation):
            raise ValueError(
                f"dynamics.activation={self.activation!r} is unknown; choose from {', '.join(get_args(Activation))}"
            )
        if self.bins < 2 or not 0 < self.symlog_range < math.inf:
            raise ValueError(
                f"dynamics.bins={self.bins} within {self.symlog_range} must be at least 2, within a finite range"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dynamics.dropout={self.dropout} must be at least 0, and less than 1")
        if not self.log_std_min < self.log_std_max:
            raise ValueError(
                f"dynamics.log_std_min={self.log_std_min} must be less than log_std_max={self.log_std_max}"
            )
        if not 0 < self.value_tau <= 1:
            raise ValueError(f"dynamics.value_tau={self.value_tau} must be greater than 0, and at most 1")
