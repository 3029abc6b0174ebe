"""Sequence models that the laws are run over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tests.contract.history_memory import HistoryMemory
from tests.contract.policy_cases import seeded
from torch import Tensor

from tempovla.model.temporal import TemporalEncoder, TemporalEncoderConfig, TemporalState
from tempovla.model.temporal.history.encoder import HistoryEncoder


def random_sequence(features: int) -> Tensor:
    """(4, 11, features)."""
    return torch.randn(4, 11, features, generator=torch.Generator().manual_seed(1))


@dataclass(frozen=True)
class MemoryCase:
    """A sequence model and the number of features that it takes."""

    build: Callable[[], Any]
    features: int


def history(**options: Any) -> MemoryCase:
    """A tiny history encoder of 5 steps."""
    sizes = {"obs_dim": 5, "action_dim": 3, "context_dim": 8, "num_heads": 2, "history_length": 5}
    return MemoryCase(lambda: seeded(lambda: HistoryMemory(HistoryEncoder(**sizes, **options).eval())), 8)


class EncoderMemory:
    """A temporal encoder in the form that the laws take; hidden states and aggregates side by side."""

    def __init__(self, encoder: TemporalEncoder) -> None:
        self.encoder = encoder

    def initial_state(self, batch: int) -> TemporalState:
        return self.encoder.initial_state(batch)

    def forward(self, x: Tensor, state: TemporalState) -> tuple[Tensor, TemporalState]:
        output, state = self.encoder.run(x, state)
        return torch.cat([output.hidden, output.aggregated], dim=-1), state

    def step(self, x: Tensor, state: TemporalState) -> tuple[Tensor, TemporalState]:
        output, state = self.encoder.step(x, state)
        return torch.cat([output.hidden, output.aggregated], dim=-1), state


def temporal(encoder_type: str, **options: Any) -> MemoryCase:
    """A tiny temporal encoder with random weights, every parameter included."""

    def build() -> EncoderMemory:
        sizes = {"input_dim": 6, "hidden_dim": 8, "output_dim": 5, "num_layers": 2, "num_heads": 2, "max_seq_len": 16}
        encoder = TemporalEncoder(TemporalEncoderConfig(encoder_type=encoder_type, **sizes | options)).eval()
        with torch.no_grad():  # so that no parameter hides behind a zero
            for parameter in encoder.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return EncoderMemory(encoder)

    return MemoryCase(lambda: seeded(build), 6)
