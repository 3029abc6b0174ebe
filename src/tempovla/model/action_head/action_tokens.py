"""Tokens of an autoregressive head: a step by a mixture of Gaussians, or one dimension of it by bins."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.action_head.mixture import MAX_LOG_STD, GaussianMixture, likelihood_term
from tempovla.timeline import LossTerm


class MixtureTokens(nn.Module):
    """A token is a step's action (A,); the next is drawn from a mixture of diagonal Gaussians.

    Args:
        hidden_dim: width of the network.
        action_dim: dimensions A of an action.
        num_modes: Gaussians.
        std_scale: factor on their standard deviation when drawing.
        min_log_std: least log_std.
    """

    def __init__(self, hidden_dim: int, action_dim: int, num_modes: int, std_scale: float, min_log_std: float) -> None:
        super().__init__()
        self.num_modes = num_modes
        self.action_dim = action_dim
        self.std_scale = std_scale
        self.min_log_std = min_log_std
        self.embed = nn.Linear(action_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, num_modes * (1 + 2 * action_dim))

    def encode(self, actions: Tensor) -> Tensor:
        """Return actions (B, H, A) as tokens (B, H, A)."""
        return actions

    def decode(self, tokens: Tensor) -> Tensor:
        """Return tokens (B, H, A) as actions (B, H, A)."""
        return tokens

    def draw(self, hidden: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        """Return tokens (B, 1, A) from the network's output (B, 1, D), uniform (B, 1) and normal (B, 1, A) numbers."""
        return self._mixture(hidden).draw(uniform, normal, self.std_scale)

    def without_padding(self, drawn: Tensor, own: Tensor, index: int) -> Tensor:
        """Return drawn tokens (B, 1, A), 0 in dimensions that are not `own` (B, A)."""
        return torch.where(own[:, None], drawn, 0.0)

    def loss_term(self, hidden: Tensor, tokens: Tensor, valid: Tensor) -> LossTerm:
        """Return the negative log likelihood of tokens (B, H, A) where valid (B, H, A), given outputs (B, H, D)."""
        return likelihood_term(self._mixture(hidden).log_prob(tokens, valid), valid)

    def _mixture(self, hidden: Tensor) -> GaussianMixture:
        modes = self.out(hidden).float().unflatten(-1, (self.num_modes, -1))
        logits, mean, log_std = modes.split([1, self.action_dim, self.action_dim], dim=-1)
        return GaussianMixture(logits.squeeze(-1), mean, log_std.clamp(self.min_log_std, MAX_LOG_STD))


class BinTokens(nn.Module):
    """A token is the bin of one dimension of one step, in the order of steps, then dimensions (as in RT-1 and OpenVLA).

    Args:
        hidden_dim: width of the network.
        action_dim: dimensions A of an action.
        num_bins: equal bins of [-bin_range, bin_range]; actions beyond count as in the outermost.
        bin_range: see there.
    """

    def __init__(self, hidden_dim: int, action_dim: int, num_bins: int, bin_range: float) -> None:
        super().__init__()
        self.num_bins = num_bins
        self.action_dim = action_dim
        self.bin_range = bin_range
        self.embed = nn.Embedding(num_bins, hidden_dim)
        self.out = nn.Linear(hidden_dim, num_bins)

    def encode(self, actions: Tensor) -> Tensor:
        """Return actions (B, H, A) as bins (B, H A) int64."""
        bins = (actions / self.bin_range + 1.0) * (0.5 * self.num_bins)
        return bins.floor().long().clamp(0, self.num_bins - 1).flatten(1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Return bins (B, H A) as actions (B, H, A): their centres."""
        centre = ((tokens + 0.5) * (2.0 / self.num_bins) - 1.0) * self.bin_range
        return centre.unflatten(1, (-1, self.action_dim))

    def draw(self, hidden: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
        """Return bins (B, 1) from the network's output (B, 1, D) and uniform numbers (B, 1)."""
        below = uniform.unsqueeze(-1) >= self.out(hidden).float().softmax(dim=-1).cumsum(dim=-1)
        return below.sum(dim=-1).clamp(max=self.num_bins - 1)

    def without_padding(self, drawn: Tensor, own: Tensor, index: int) -> Tensor:
        """Return the `index`-th drawn token (B, 1), which is the bin of 0 where its dimension is not `own` (B, A)."""
        zero = self.encode(torch.zeros(1, 1, device=drawn.device))
        return torch.where(own[:, index % self.action_dim, None], drawn, zero)

    def loss_term(self, hidden: Tensor, tokens: Tensor, valid: Tensor) -> LossTerm:
        """Return the cross entropy of bins (B, H A) where valid (B, H, A), given outputs (B, H A, D)."""
        logits = self.out(hidden).unflatten(1, (-1, self.action_dim))
        return LossTerm(logits, tokens.unflatten(1, (-1, self.action_dim)), valid, kind="cross_entropy")
