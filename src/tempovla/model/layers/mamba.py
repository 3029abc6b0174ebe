"""Mamba: selective state space layers (Gu and Dao, 2023), for whole sequences and one step at a time.

Parameters are named as in transformers' `MambaModel`, whose weights load as they are, the token embedding apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.causal_conv import causal_conv
from tempovla.model.layers.dtype import in_dtype_of, sums_dtype
from tempovla.model.layers.mixer_state import (
    MixerState,
    check_config,
    init_step_bias,
    mask_after,
    pack_valid,
    unpack_valid,
)
from tempovla.model.layers.recompute import Recompute
from tempovla.model.layers.row_state import RowState
from tempovla.model.layers.selective_scan import selective_scan

if TYPE_CHECKING:
    from tempovla.model.layers.ssd import Mamba2Config


@dataclass(frozen=True)
class MambaConfig:
    """Sizes of a stack of Mamba-1 blocks.

    Attributes:
        d_model: features of the residual stream.
        depth: number of blocks.
        d_state: state dimensions per channel.
        d_conv: steps that the causal convolution sees, the present one included.
        expand: channels inside a block, as a multiple of d_model.
        dt_rank: rank of the projection to step sizes; "auto" is d_model / 16, rounded up.
        dt_min: smallest step size at initialisation.
        dt_max: largest step size at initialisation.
        use_bias: whether the input and output projections have a bias.
        use_conv_bias: whether the convolution has a bias.
        norm_eps: added to the mean square in RMSNorm.
    """

    d_model: int = 256
    depth: int = 12
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    dt_rank: int | Literal["auto"] = "auto"
    dt_min: float = 0.001
    dt_max: float = 0.1
    use_bias: bool = False
    use_conv_bias: bool = True
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        check_config(self, "d_model", "depth", "d_state", "d_conv", "expand")
        if self.dt_rank != "auto":
            check_config(self, "dt_rank")

    @property
    def d_inner(self) -> int:
        """Channels inside a block."""
        return self.expand * self.d_model

    @property
    def rank(self) -> int:
        """`dt_rank` as a number."""
        return math.ceil(self.d_model / 16) if self.dt_rank == "auto" else self.dt_rank

    def build_mixer(self) -> MambaMixer:
        """Return the mixer of one block."""
        return MambaMixer(self)


class MambaMixer(nn.Module):
    """The Mamba-1 layer: gated, with a causal convolution and the selective scan."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.config = config
        channels, rank = config.d_inner, config.rank
        self.in_proj = nn.Linear(config.d_model, 2 * channels, bias=config.use_bias)
        self.conv1d = nn.Conv1d(channels, channels, config.d_conv, groups=channels, bias=config.use_conv_bias)
        self.x_proj = nn.Linear(channels, rank + 2 * config.d_state, bias=False)
        self.dt_proj = nn.Linear(rank, channels)
        self.A_log = nn.Parameter(torch.arange(1.0, config.d_state + 1).log().repeat(channels, 1))
        self.D = nn.Parameter(torch.ones(channels))
        self.A_log._no_weight_decay = self.D._no_weight_decay = True  # type: ignore[attr-defined]
        self.out_proj = nn.Linear(channels, config.d_model, bias=config.use_bias)
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        init_step_bias(self.dt_proj.bias, config.dt_min, config.dt_max)

    def initial_state(self, batch: int) -> MixerState:
        """Return the state of `batch` rows that have seen nothing."""
        config = self.config
        return MixerState(
            conv=self.A_log.new_zeros(batch, config.d_conv - 1, config.d_inner),
            ssm=self.A_log.new_zeros(batch, config.d_state, config.d_inner, dtype=sums_dtype(self.A_log.dtype)),
        )

    def forward(
        self, x: Tensor, state: MixerState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, MixerState]:
        """Mix a sequence.

        Args:
            x: (batch, length, d_model).
            state: what came before; None means nothing.
            lengths: (batch,) number of valid steps of each row, which come first; None means all. The rest must be
                finite; it touches no valid output and no state.

        Returns:
            Outputs like `x`, and the state after the last valid step.
        """
        config = self.config
        u, gate = self.in_proj(x).chunk(2, dim=-1)
        past = self.initial_state(x.shape[0]).conv if state is None else state.conv
        u, conv = causal_conv(self.conv1d, u, past, lengths)
        u = F.silu(u)
        dt, B, C = self.x_proj(u).split([config.rank, config.d_state, config.d_state], dim=-1)
        with torch.autocast(x.device.type, enabled=False):  # step sizes in full precision
            delta = F.softplus(self.dt_proj(dt.to(self.dt_proj.weight.dtype)))
        if lengths is not None:
            delta = delta.masked_fill(mask_after(lengths, x.shape[1]).unsqueeze(2), 0.0)
        y, ssm = selective_scan(u, delta, -self.A_log.exp(), B, C, None if state is None else state.ssm)
        y = torch.addcmul(y, self.D, u) * F.silu(gate)
        return self.out_proj(in_dtype_of(self.out_proj, y)), MixerState(conv, ssm)

    def step(self, x: Tensor, state: MixerState) -> tuple[Tensor, MixerState]:
        """Mix one step (batch, d_model) into the state."""
        y, state = self(x.unsqueeze(1), state)
        return y.squeeze(1), state


class MambaBlock(nn.Module):
    """Norm, mixer and residual."""

    def __init__(self, config: MambaConfig | Mamba2Config) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.mixer = config.build_mixer()

    def forward(
        self, x: Tensor, state: MixerState | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, MixerState]:
        """As the mixer's `forward`."""
        y, state = self.mixer(self.norm(x), state, lengths)
        return x + y, state


@dataclass(frozen=True)
class MambaState(RowState):
    """All that a stack remembers: the state of each block."""

    blocks: tuple[MixerState, ...]


class Mamba(Recompute):
    """A stack of Mamba blocks with a final norm, over features (no token embedding).

    The config chooses the mixer: `MambaConfig` for Mamba-1, `Mamba2Config` for Mamba-2.
    """

    def __init__(self, config: MambaConfig | Mamba2Config) -> None:
        super().__init__()
        blocks = [MambaBlock(config) for _ in range(config.depth)]
        for block in blocks:  # keeps the variance of the residual stream independent of depth, as in GPT-2
            with torch.no_grad():
                block.mixer.out_proj.weight.div_(math.sqrt(config.depth))
        self.layers = cast(Sequence[MambaBlock], nn.ModuleList(blocks))
        self.norm_f = nn.RMSNorm(config.d_model, eps=config.norm_eps)

    def initial_state(self, batch: int) -> MambaState:
        """Return the state of `batch` rows that have seen nothing."""
        return MambaState(tuple(block.mixer.initial_state(batch) for block in self.layers))

    def forward(
        self, x: Tensor, state: MambaState | None = None, valid: Tensor | None = None
    ) -> tuple[Tensor, MambaState]:
        """Run over a sequence.

        Args:
            x: (batch, length, d_model).
            state: what came before; None means nothing.
            valid: (batch, length) bool, None means all. Invalid steps are skipped, wherever they are: outputs and state
                are as if they weren't there.

        Returns:
            Outputs like `x` in the dtype of the weights, zero where invalid, and the state after the last valid step.
        """
        x, lengths = x.to(self.norm_f.weight.dtype), None  # the residual stream keeps full precision under autocast
        if valid is not None:
            x, lengths, order = pack_valid(x, valid)
        before = [None] * len(self.layers) if state is None else state.blocks
        after = []
        for block, block_state in zip(self.layers, before, strict=True):
            x, block_state = self.run_layer(block, x, block_state, lengths)
            after.append(block_state)
        x = self.norm_f(x)
        if valid is not None:
            x = unpack_valid(x, valid, order)
        return x, MambaState(tuple(after))

    def step(self, x: Tensor, state: MambaState) -> tuple[Tensor, MambaState]:
        """Run one step (batch, d_model)."""
        y, state = self(x.unsqueeze(1), state)
        return y.squeeze(1), state
