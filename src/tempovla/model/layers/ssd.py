"""Mamba-2: state space layers with one decay per head (Dao and Gu, "Transformers are SSMs", 2024).

For head h with state S (d_state, head_dim), the recurrence is

    S_t = exp(dt_t * A) * S_{t-1} + B_t (dt_t * x_t)^T          y_t = C_t^T S_t

and, written out, a masked attention: y = (C B^T * decay) (dt * x), with decay[t, s] = exp(sum of dt * A over (s, t]).
That quadratic form (their "state space duality") is what runs here, over chunks that hand on the state, so that the
cost stays linear in the length. Exponents are sums of terms <= 0, never differences of running sums.

Parameters are named as in transformers' `Mamba2Model` with `n_groups=1`, whose weights load as they are, the token
embedding apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.causal_conv import causal_conv
from tempovla.model.layers.dtype import in_dtype_of, sums_dtype
from tempovla.model.layers.mixer_state import MixerState, check_config, init_step_bias, mask_after

CHUNK_LENGTH = 64


def ssd(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Run the state space model over a sequence, in float32 even under autocast (float64 if `dt` is float64).

    Args:
        x: (batch, length, heads, head_dim) inputs.
        dt: (batch, length, heads) step sizes, >= 0. A zero leaves the state as it is.
        A: (heads,) rates, <= 0.
        B: (batch, length, d_state) input weights, shared by the heads.
        C: (batch, length, d_state) output weights, shared by the heads.
        initial_state: (batch, heads, d_state, head_dim) state before the first step; None means zeros.

    Returns:
        Outputs like `x`, and the state after the last step.
    """
    dtype = torch.float64 if dt.dtype == torch.float64 else torch.float32
    x, dt, A, B, C = (value.to(dtype) for value in (x, dt, A, B, C))
    if initial_state is None:
        state = x.new_zeros(x.shape[0], x.shape[2], B.shape[2], x.shape[3])
    else:
        state = initial_state.to(dtype)
    outputs = [x[:, :0]]
    with torch.autocast(x.device.type, enabled=False):
        for first in range(0, x.shape[1], CHUNK_LENGTH):
            span = slice(first, first + CHUNK_LENGTH)
            y, state = _ssd_chunk(x[:, span], dt[:, span], A, B[:, span], C[:, span], state)
            outputs.append(y)
    return torch.cat(outputs, dim=1), state


def _ssd_chunk(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    log_decay = (dt * A).mT
    decay = segment_sum(log_decay).exp()  # (batch, heads, length, length)
    since_start = log_decay.cumsum(-1).exp().unsqueeze(-1)
    drive = (dt.unsqueeze(-1) * x).transpose(1, 2)
    B, C = B.unsqueeze(1), C.unsqueeze(1)
    y = (C @ B.mT * decay) @ drive + (C * since_start) @ state
    state = since_start[:, :, -1:] * state + (B * decay[:, :, -1].unsqueeze(-1)).mT @ drive
    return y.transpose(1, 2), state


def segment_sum(x: Tensor) -> Tensor:
    """Return sums over every segment of the last axis: result[..., t, s] = x[s + 1] + ... + x[t], and -inf where s > t.

    Each segment is summed for itself. Differences of one running sum would lose its digits where the sum is large.
    """
    length = x.shape[-1]
    ones = torch.ones(length, length, dtype=torch.bool, device=x.device)
    terms = x.unsqueeze(-1).expand(*x.shape, length).masked_fill(~ones.tril(-1), 0.0)
    return terms.cumsum(-2).masked_fill(~ones.tril(), -torch.inf)


@dataclass(frozen=True)
class Mamba2Config:
    """Sizes of a stack of Mamba-2 blocks.

    Attributes:
        d_model: features of the residual stream.
        depth: number of blocks.
        d_state: state dimensions per channel.
        d_conv: steps that the causal convolution sees, the present one included.
        expand: channels inside a block, as a multiple of d_model.
        head_dim: channels that share one decay.
        dt_min: smallest step size at initialisation.
        dt_max: largest step size at initialisation.
        use_bias: whether the input and output projections have a bias.
        use_conv_bias: whether the convolution has a bias.
        norm_eps: added to the mean square in RMSNorm.
    """

    d_model: int = 256
    depth: int = 12
    d_state: int = 64
    d_conv: int = 4
    expand: int = 2
    head_dim: int = 64
    dt_min: float = 0.001
    dt_max: float = 0.1
    use_bias: bool = False
    use_conv_bias: bool = True
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        check_config(self, "d_model", "depth", "d_state", "d_conv", "expand", "head_dim")
        if self.d_inner % self.head_dim:
            raise ValueError(
                f"Mamba2Config.head_dim={self.head_dim} must divide expand * d_model = {self.d_inner} into whole heads"
            )

    @property
    def d_inner(self) -> int:
        """Channels inside a block."""
        return self.expand * self.d_model

    @property
    def heads(self) -> int:
        """Groups of channels, each with its own decay."""
        return self.d_inner // self.head_dim

    def build_mixer(self) -> Mamba2Mixer:
        """Return the mixer of one block."""
        return Mamba2Mixer(self)


class Mamba2Mixer(nn.Module):
    """The Mamba-2 layer: gated, with a causal convolution over inputs and weights, and a norm before the output."""

    def __init__(self, config: Mamba2Config) -> None:
        super().__init__()
        self.config = config
        channels, heads = config.d_inner, config.heads
        convolved = channels + 2 * config.d_state
        self.in_proj = nn.Linear(config.d_model, channels + convolved + heads, bias=config.use_bias)
        self.conv1d = nn.Conv1d(convolved, convolved, config.d_conv, groups=convolved, bias=config.use_conv_bias)
        self.dt_bias = nn.Parameter(torch.empty(heads))
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(heads))
        self.A_log._no_weight_decay = self.D._no_weight_decay = True  # type: ignore[attr-defined]
        self.norm = nn.RMSNorm(channels, eps=config.norm_eps)
        self.out_proj = nn.Linear(channels, config.d_model, bias=config.use_bias)
        init_step_bias(self.dt_bias, config.dt_min, config.dt_max)

    def initial_state(self, batch: int) -> MixerState:
        """Return the state of `batch` rows that have seen nothing."""
        config = self.config
        return MixerState(
            conv=self.A_log.new_zeros(batch, config.d_conv - 1, self.conv1d.in_channels),
            ssm=self.A_log.new_zeros(
                batch, config.heads, config.d_state, config.head_dim, dtype=sums_dtype(self.A_log.dtype)
            ),
        )

    def forward(
        self, x: Tensor, state: MixerState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, MixerState]:
        """Mix a sequence; arguments and results as in `MambaMixer.forward`."""
        config = self.config
        if state is None:
            state = self.initial_state(x.shape[0])
        sizes = [config.d_inner, self.conv1d.in_channels, config.heads]
        gate, convolved, dt = self.in_proj(x).split(sizes, dim=-1)
        convolved, conv = causal_conv(self.conv1d, convolved, state.conv, lengths)
        u, B, C = F.silu(convolved).split([config.d_inner, config.d_state, config.d_state], dim=-1)
        u = u.unflatten(-1, (config.heads, config.head_dim))
        dt = F.softplus(dt.to(self.dt_bias.dtype) + self.dt_bias)
        if lengths is not None:
            dt = dt.masked_fill(mask_after(lengths, x.shape[1]).unsqueeze(2), 0.0)
        y, ssm = ssd(u, dt, -self.A_log.exp(), B, C, state.ssm)
        y = torch.addcmul(y, self.D.unsqueeze(1), u).flatten(-2)
        return self.out_proj(self.norm(in_dtype_of(self.norm, y * F.silu(gate)))), MixerState(conv, ssm)

    def step(self, x: Tensor, state: MixerState) -> tuple[Tensor, MixerState]:
        """Mix one step (batch, d_model) into the state."""
        y, state = self(x.unsqueeze(1), state)
        return y.squeeze(1), state
