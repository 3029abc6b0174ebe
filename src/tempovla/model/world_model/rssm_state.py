"""The state of a recurrent state-space model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tempovla.model.layers.row_state import RowState


@dataclass(frozen=True)
class RSSMState(RowState):
    """All that the model knows of each row; zeros in a row that has seen nothing.

    Attributes:
        deterministic: (B, ..., D) the recurrent state.
        stochastic: (B, ..., V) what is drawn given it.
        action: (B, ..., A) the last action.
    """

    deterministic: Tensor
    stochastic: Tensor
    action: Tensor

    @property
    def features(self) -> Tensor:
        """(B, ..., D + V) what everything else is predicted from."""
        return torch.cat([self.deterministic, self.stochastic], dim=-1)
