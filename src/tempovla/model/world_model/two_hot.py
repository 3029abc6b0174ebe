"""Numbers of any size as a distribution over bins, so that their loss does not depend on their scale.

Symlog and two-hot targets are those of DreamerV3 (Hafner et al., 2023, equations 9 and 10).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def symlog(x: Tensor) -> Tensor:
    """Return sign(x) ln(1 + |x|)."""
    return torch.sign(x) * torch.log1p(x.abs())


def symexp(x: Tensor) -> Tensor:
    """Return sign(x) (exp(|x|) - 1), the inverse of `symlog`."""
    return torch.sign(x) * torch.expm1(x.abs())


class TwoHot(nn.Module):
    """Bins that are equally far apart in symlog space.

    Args:
        bins: number K of them.
        low: of the first one, in symlog space.
        high: of the last one, in symlog space.

    Raises:
        ValueError: if there are fewer than two bins, or `low` is not below `high`.
    """

    def __init__(self, bins: int = 101, low: float = -10.0, high: float = 10.0) -> None:
        super().__init__()
        if bins < 2 or not low < high:
            raise ValueError(f"bins={bins} from {low} to {high}: give at least 2, from a lower to a higher number")
        self.low, self.high, self.bins = low, high, bins
        self.centers: Tensor
        self.register_buffer("centers", torch.linspace(low, high, bins), persistent=False)

    def encode(self, value: Tensor) -> Tensor:
        """Return the two-hot distribution (..., K) float32 of numbers (...); beyond the bins the last counts.

        Where a number is NaN, so is its distribution.
        """
        place = (symlog(value.float()).clamp(self.low, self.high) - self.low) / (self.high - self.low) * (self.bins - 1)
        below = place.floor().clamp(max=self.bins - 2)
        above = (place - below)[..., None]
        index = below.nan_to_num().long()[..., None]
        spread = value.new_zeros(*value.shape, self.bins, dtype=torch.float32)
        return spread.scatter(-1, index, 1.0 - above).scatter(-1, index + 1, above)

    def decode(self, logits: Tensor) -> Tensor:
        """Return the numbers (...) float32 that logits (..., K) stand for: symexp of the mean of the bins."""
        centers = self.centers
        if centers.dtype != torch.float32:  # weights in fewer bits: the bins stay where they are
            centers = torch.linspace(self.low, self.high, self.bins, device=centers.device)
        return symexp(logits.float().softmax(dim=-1) @ centers)

    def loss(self, logits: Tensor, value: Tensor) -> Tensor:
        """Return the cross-entropy (...) float32 of logits (..., K) with numbers (...) that broadcast against it."""
        log_share = logits.float().log_softmax(dim=-1)
        return -(self.encode(value) * log_share).sum(dim=-1)
