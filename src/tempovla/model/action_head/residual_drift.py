"""A correction of the velocity by how far the world has departed from what was predicted."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.action_head.decoder import zero_linear


class ResidualDrift(nn.Module):
    """From the residual of the last prediction to a drift of every step of a chunk.

    The residual is that of a prediction whose outcome has been observed already; it never holds what comes next. The
    drift begins at 0, is bounded by `eta`, and fades as the flow time goes from noise to actions.

    Args:
        residual_dim: dimensions D of the residual.
        time_dim: width W of the embedding of flow times.
        action_horizon: steps T of a chunk.
        action_dim: dimensions A of an action.
        eta: bound of the drift at flow time 0.
        hidden_dim: width of what the residual and the flow time become.
    """

    def __init__(
        self,
        residual_dim: int,
        time_dim: int,
        action_horizon: int,
        action_dim: int,
        eta: float = 0.2,
        hidden_dim: int = 512,
    ) -> None:
        super().__init__()
        self.eta, self.action_horizon = eta, action_horizon
        self.residual_in = nn.Linear(residual_dim, hidden_dim)
        self.time_in = nn.Linear(time_dim, hidden_dim)
        self.net = nn.Sequential(
            nn.LayerNorm(2 * hidden_dim),
            nn.Linear(2 * hidden_dim, hidden_dim),
            nn.GELU(),
            zero_linear(hidden_dim, action_horizon * action_dim),
        )

    def forward(self, residual: Tensor, valid: Tensor, time: Tensor, flow_time: Tensor) -> Tensor:
        """Return the drift (B, R, T, A) float32; 0 where there is no residual.

        Args:
            residual: (B, D) between what was observed and what had been predicted of it.
            valid: (B,) bool.
            time: (B, R, W) embedded flow times.
            flow_time: (B, R) in [0, 1].
        """
        clean = torch.where(valid[:, None], residual, 0.0).to(self.residual_in.weight.dtype)
        said = self.residual_in(F.layer_norm(clean, clean.shape[-1:]) if clean.shape[-1] > 1 else clean)
        joined = torch.cat([said[:, None].expand(-1, time.shape[1], -1), self.time_in(time)], dim=-1)
        raw = self.net(joined).float().unflatten(-1, (self.action_horizon, -1))
        bound = self.eta * (1.0 - flow_time).clamp(min=0.0)
        drift = bound[..., None, None] * raw.tanh()
        return torch.where(valid[:, None, None, None], drift, 0.0)
