"""Softmax pooling over time that goes on with a state of fixed size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.layers.dtype import sums_dtype

_PIECE = 64  # steps pooled at once: the scores of a piece are quadratic in its length
_NOTHING = -1e30  # finite, so that gradients stay numbers


class RunningPool(nn.Module):
    """A learned score for every step, and the mean of the steps so far weighted by the softmax of their scores.

    What has been is one entry, with the logarithm of its total weight as its score (Milakov and Gimelshein, 2018).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1, bias=False)
        nn.init.zeros_(self.score.weight)  # a plain mean at first

    def forward(
        self, hidden: Tensor, mean: Tensor, log_weight: Tensor, seen: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Pool the steps of a sequence.

        Args:
            hidden: (B, T, D).
            mean: (B, D) what has been pooled before.
            log_weight: (B,) logarithm of its total weight.
            seen: (B,) bool, whether there was anything before.
            lengths: (B,) valid steps, which come first; None means all.

        Returns:
            Means up to each step (B, T, D), those after the last valid one like its; `log_weight` after it.
        """
        dtype, mean = mean.dtype, mean.to(sums_dtype(mean.dtype))
        scores = self.score(hidden).squeeze(2).to(mean.dtype)
        if lengths is not None:
            late = torch.arange(hidden.shape[1], device=hidden.device) >= lengths.unsqueeze(1)
            scores = scores.masked_fill(late, _NOTHING)
        before = log_weight.to(mean.dtype).masked_fill(~seen, _NOTHING)
        pooled = []
        for part, score in zip(hidden.to(mean.dtype).split(_PIECE, 1), scores.split(_PIECE, 1), strict=True):
            values = torch.cat([mean.unsqueeze(1), part], dim=1)
            row = torch.cat([before.unsqueeze(1), score], dim=1).unsqueeze(1).expand(-1, part.shape[1], -1)
            later = torch.ones(row.shape[1:], dtype=torch.bool, device=row.device).triu(2)
            row = row.masked_fill(later, _NOTHING)
            pooled.append(row.softmax(dim=2) @ values)
            mean, before = pooled[-1][:, -1], row[:, -1].logsumexp(dim=1)
        started = before > 0.5 * _NOTHING
        return torch.cat(pooled, dim=1).to(dtype), before.masked_fill(~started, 0.0).to(dtype)
