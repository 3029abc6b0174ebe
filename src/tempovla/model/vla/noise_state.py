"""The state of a policy that remembers only its random numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tempovla.timeline.noise import mix_seed


@dataclass(frozen=True)
class NoiseState:
    """Where the noise of every row comes from. Both (B,) int64.

    Attributes:
        seed: of the row.
        decision: how many decisions were made since the episode began.
    """

    seed: Tensor
    decision: Tensor

    @classmethod
    def initial(cls, batch_size: int, device: torch.device) -> NoiseState:
        """Every row starts from the same noise stream, so that no result depends on the row an episode runs in."""
        zeros = torch.zeros(batch_size, dtype=torch.int64, device=device)
        return cls(seed=zeros, decision=zeros)

    def with_seeds(self, seed: Tensor) -> NoiseState:
        """Return the state with every row's noise drawn from its seed (B,)."""
        return replace(self, seed=seed)

    def decide(self, first: Tensor) -> tuple[Tensor, NoiseState]:
        """Seeds (B,) of this decision's noise, and the next state; rows where `first` (B,) is True start anew."""
        decision = torch.where(first, 0, self.decision)
        return mix_seed(self.seed, decision), NoiseState(self.seed, decision + 1)
