"""The exponential moving average of the weights, which is what gets evaluated and deployed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tempovla.training.optimizer import trainable_parameters
from tempovla.training.parallel import scattered


class WeightEma:
    """Average of a policy's trainable parameters over training.

    The decay is warmed up, min(decay, (1 + n) / (10 + n)) after n updates, so that short runs are not held back by
    their random start.
    """

    def __init__(self, policy: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live = trainable_parameters(policy)
        self.average = {name: parameter.detach().clone() for name, parameter in self._live.items()}

    @torch.no_grad()
    def update(self, train_step: int) -> None:
        """Move the average towards the weights after optimiser step number `train_step` (from 1)."""
        decay = min(self.decay, (1 + train_step) / (10 + train_step))
        torch._foreach_lerp_(list(self.average.values()), list(self._live.values()), 1.0 - decay)

    def load(self, average: Mapping[str, Tensor]) -> None:
        """Take up a saved average."""
        for name, value in self.average.items():
            value.copy_(scattered(average[name], value))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the policy its averaged weights inside the block."""
        kept = {name: parameter.detach().clone() for name, parameter in self._live.items()}
        self._write(self.average)
        try:
            yield
        finally:
            self._write(kept)

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._live.items():
            parameter.copy_(values[name])
