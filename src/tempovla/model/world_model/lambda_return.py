"""Returns that mix all lengths of looking ahead."""

from __future__ import annotations

import torch
from torch import Tensor


def lambda_return(rewards: Tensor, discounts: Tensor, values: Tensor, share: float) -> Tensor:
    """Return R_t = r_t + d_t ((1 - share) v_{t+1} + share R_{t+1}) for t < H, with R_H = v_H (Sutton, 1988).

    Args:
        rewards: (..., H) of the step from t to t + 1.
        discounts: (..., H) of what comes after that step.
        values: (..., H + 1) of the states.
        share: lambda; 0 looks one step ahead, 1 to the end.
    """
    later = values[..., -1]
    found = []
    for index in reversed(range(rewards.shape[-1])):
        ahead = (1.0 - share) * values[..., index + 1] + share * later
        later = rewards[..., index] + discounts[..., index] * ahead
        found.append(later)
    return torch.stack(found[::-1], dim=-1)
