"""A diffusion transformer over a chunk of actions, each of whose blocks reads one layer of a language model.

Blocks take turns: one reads a layer of the language model and the task tokens, the next lets state, future tokens and
actions attend to each other (as in GR00T N1; Bjorck et al., 2025, arXiv:2503.14734). The path of flow matching goes
from noise at flow time 0 to actions at 1: x = (1 - t) noise + t action, with velocity action - noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.action_head.flow_times import beta_flow_time, bucket_of
from tempovla.model.action_head.layerwise_config import LayerwiseFlowConfig
from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.embedding import sinusoidal_embedding
from tempovla.model.layers.recompute import Recompute
from tempovla.model.layers.transformer import attend
from tempovla.timeline.noise import row_normal, row_uniform

KeyValue = tuple[Tensor, Tensor]
"""Keys and values, both (B, heads, L, head_dim)."""
TIME_CHANNELS = 256


Correction = Callable[[Tensor, Tensor], Tensor | None]
"""What is added to velocities (B, 1, T, A), given the bucket and the flow time, both (B, 1)."""


@dataclass(frozen=True)
class FlowDraw:
    """Points on the way from noise to actions, R for each row.

    Attributes:
        noisy: (B, R, T, A).
        velocity: (B, R, T, A) that is to be learned there.
        flow_time: (B, R) in [0, 1].
        bucket: (B, R) int64, the same as numbers of buckets.
    """

    noisy: Tensor
    velocity: Tensor
    flow_time: Tensor
    bucket: Tensor


@dataclass(frozen=True)
class Reading:
    """What the blocks read, computed once for all flow times and draws.

    Attributes:
        blocks: keys and values for every block; None for one that reads nothing.
        seen: (B, S) bool, which of the S tokens are attended to: at least one in each row.
        ahead: (B, n, W) tokens that stand before the others: of the robot's state and of the read-out; None without.
        readout: (B, F) the read-out itself; None without one.
    """

    blocks: tuple[KeyValue | None, ...]
    seen: Tensor
    ahead: Tensor | None
    readout: Tensor | None = None


class Modulation(nn.Module):
    """A LayerNorm whose scale and shift follow from the flow time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_shift = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Return x (N, L, W) normalised and modulated by time (N, W)."""
        scale, shift = self.scale_shift(F.silu(time)).chunk(2, dim=-1)
        return F.layer_norm(x, x.shape[-1:]) * (1.0 + scale[:, None]) + shift[:, None]


class Block(nn.Module):
    """Attention behind a norm that the flow time modulates, and a feed-forward layer; both around a residual.

    Args:
        width: width W of the sequence.
        num_heads: attention heads.
        source_dim: width of what it reads; None attends to the sequence itself.
        dropout: of both parts.
        final_dropout: whether there is one at the end of the feed-forward layer.
    """

    def __init__(
        self, width: int, num_heads: int, source_dim: int | None, dropout: float, *, final_dropout: bool
    ) -> None:
        super().__init__()
        self.num_heads, self.reads = num_heads, source_dim is not None
        self.norm = Modulation(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(source_dim or width, 2 * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.ffn_norm = nn.LayerNorm(width)
        end = [nn.Dropout(dropout)] if final_dropout else []
        inner = [nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)]
        self.ffn = nn.Sequential(*inner, *end)

    def remember(self, source: Tensor) -> KeyValue:
        """Return keys and values of what is read, (B, S, source_dim)."""
        key, value = self.key_value(source).unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return key, value

    def forward(self, x: Tensor, time: Tensor, source: KeyValue | None, seen: Tensor | None) -> Tensor:
        """Map (N, L, W) to the same.

        Args:
            x: the sequences of N = B * R chunks, R of each row one after the other.
            time: (N, W).
            source: keys and values of the B rows, for a block that reads; None attends to the sequence itself.
            seen: (B, S) bool, which of them are attended to.
        """
        normed = self.norm(x, time)
        length = normed.shape[1]
        if source is not None:  # the chunks of a row ask the same keys, as more queries of one sequence
            normed = normed.unflatten(0, (source[0].shape[0], -1)).flatten(1, 2)
        query = self.query(normed).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        if source is None:
            source, mask = self.remember(normed), None
        else:
            assert seen is not None, "what is read comes with what of it is valid"
            mask = seen[:, None, None]
        mixed = attend(query, *source, mask=mask).transpose(1, 2).flatten(2)
        x = x + self.dropout(self.out(mixed).reshape(-1, length, x.shape[2]))
        return x + self.ffn(self.ffn_norm(x))


class LayerwiseFlow(Recompute):
    """Velocities of noisy actions, given the layers of a language model.

    Args:
        config: its options.
        source_dim: width H of the language model and of the task tokens.
        source_layers: layers that the language model has.
        action_dim: dimensions A of an action.
        action_horizon: steps T of a chunk.
        state_dim: size P of the robot's state; None reads none.
        readout_dim: size F of a read-out that is one more token; None has none.

    Attributes:
        depth: number of blocks.
        width: their width W.
        reads: which layer of the language model each block reads; None for one that reads none.

    Raises:
        ValueError: if the width is not divisible by that of a head, or there are fewer positions than steps.
    """

    def __init__(
        self,
        config: LayerwiseFlowConfig,
        source_dim: int,
        source_layers: int,
        action_dim: int,
        action_horizon: int,
        state_dim: int | None = None,
        readout_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.config, self.action_dim, self.action_horizon = config, action_dim, action_horizon
        self.width = width = config.hidden_dim or source_dim
        config.check_width(width)
        config.check_horizon(action_horizon)
        self.depth = min(config.num_layers or source_layers, source_layers)
        first = source_layers - self.depth if config.vl_layer_selection == "last" else 0
        own = [config.interleave_self_attention and index % 2 == 1 for index in range(self.depth)]
        self.reads = tuple(None if alone else first + index for index, alone in enumerate(own))
        self.state_in = None
        if state_dim is not None:
            self.state_in = nn.Sequential(
                nn.Linear(state_dim, config.mlp_dim), nn.ReLU(), nn.Linear(config.mlp_dim, width)
            )
        self.readout_in = None if readout_dim is None else nn.Linear(readout_dim, width)
        self.future = nn.Parameter(0.02 * torch.randn(config.num_target_vision_tokens, width))
        self.action_in = nn.Linear(action_dim, width)
        self.action_time_in = nn.Linear(2 * width, width)
        self.action_time_out = nn.Linear(width, width)
        self.position = nn.Parameter(0.02 * torch.randn(config.max_seq_len, width)) if config.add_pos_embed else None
        self.time_in = nn.Sequential(nn.Linear(TIME_CHANNELS, width), nn.SiLU(), nn.Linear(width, width))
        heads = width // config.head_dim
        blocks = nn.ModuleList(
            Block(width, heads, None if alone else source_dim, config.dropout, final_dropout=config.final_dropout)
            for alone in own
        )
        self.blocks = cast(Sequence[Block], blocks)
        concatenates = config.use_concat_cross_context
        self.own_in = nn.ModuleList(
            nn.Linear(width, source_dim) if concatenates and not alone else nn.Identity() for alone in own
        )
        self.norm_out = Modulation(width)
        self.action_out = nn.Sequential(
            nn.Linear(width, config.mlp_dim), nn.ReLU(), nn.Linear(config.mlp_dim, action_dim)
        )

    def read(
        self,
        layers: Sequence[Tensor],
        valid: Tensor,
        extra: Tensor | None = None,
        extra_valid: Tensor | None = None,
        state: Tensor | None = None,
        readout: Tensor | None = None,
    ) -> Reading:
        """Return what the blocks read.

        Args:
            layers: hidden states (B, L, H) of every layer of the language model.
            valid: (B, L) bool.
            extra: (B, E, H) task and feedback tokens, which every block that reads may see; None for none.
            extra_valid: (B, E) bool.
            state: (B, P) normalised, if it is read.
            readout: (B, F), if it is read or kept for others.
        """
        seen = valid
        if extra is not None:
            assert extra_valid is not None, "extra tokens come with their validity"
            seen = torch.cat([extra_valid, valid], dim=1)
        some = seen.any(dim=1, keepdim=True)
        blocks: list[KeyValue | None] = []
        for block, layer in zip(self.blocks, self.reads, strict=True):
            if layer is None:
                blocks.append(None)
                continue
            source = layers[layer].to(self.future.dtype)
            if self.config.normalize_vl_hidden:
                source = F.layer_norm(source, source.shape[-1:])
            if extra is not None:
                source = torch.cat([extra.to(source.dtype), source], dim=1)
            blocks.append(block.remember(torch.where(seen[..., None], source, 0.0)))
        ahead = []
        if self.state_in is not None:
            assert state is not None, "a head with a state_dim reads the state"
            ahead.append(self.state_in(in_dtype_of(self, state)))
        if self.readout_in is not None:
            assert readout is not None, "a head with a readout_dim reads the read-out"
            ahead.append(self.readout_in(readout.to(self.readout_in.weight.dtype)))
        tokens = torch.stack([token.to(self.future.dtype) for token in ahead], dim=1) if ahead else None
        return Reading(tuple(blocks), seen | ~some, tokens, readout)

    def forward(self, x: Tensor, bucket: Tensor, reading: Reading, tap: int | None = None) -> tuple[Tensor, Tensor]:
        """Return velocities (B, R, T, A) float32, and the future tokens (B, R, F, W) behind block `tap`.

        Args:
            x: (B, R, T, A) noisy actions, R chunks a row, which do not see each other.
            bucket: (B, R) int64, flow times as numbers from 0 to num_timestep_buckets - 1.
            reading: what `read` gave.
            tap: number of a block; None is the last.
        """
        batch, chunks = x.shape[:2]
        hidden, time = self._sequence(x.flatten(0, 1), bucket.flatten(), reading, chunks)
        first = hidden.shape[1] - self.action_horizon - len(self.future)
        tapped = hidden
        for index, (block, source) in enumerate(zip(self.blocks, reading.blocks, strict=True)):
            kept, seen = (source, reading.seen) if source is not None else (None, None)
            if kept is not None and self.config.use_concat_cross_context:
                assert seen is not None
                kept, seen = self._with_own(index, hidden, kept, seen)
            hidden = self.run_layer(block, hidden, time, kept, seen)
            if tap is None or index == tap:
                tapped = hidden
        actions = self.norm_out(hidden, time)[:, -self.action_horizon :]
        velocity = self.action_out(actions).float().unflatten(0, (batch, chunks))
        future = tapped[:, first : first + len(self.future)].unflatten(0, (batch, chunks))
        return velocity, future

    def draw(self, clean: Tensor, seed: Tensor, own: Tensor | None = None) -> FlowDraw:
        """Return noisy actions to learn from, `repeated_diffusion_steps` for each row.

        Args:
            clean: (B, T, A) actions, 0 where not valid.
            seed: (B,) int64, from which noise and flow times follow.
            own: (B, A) bool, dimensions that a body has; there is no noise in the others. None: all.
        """
        options, count = self.config, self.config.repeated_diffusion_steps
        noise = row_normal(seed, (count, *clean.shape[1:]), stream=1)
        if own is not None:
            noise = torch.where(own[:, None, None], noise, 0.0)
        flow_time = beta_flow_time(
            row_uniform(seed, (count,), stream=2), options.noise_beta_alpha, options.noise_beta_beta, options.noise_s
        )
        at, action = flow_time[..., None, None], clean.float()[:, None]
        noisy = (1.0 - at) * noise + at * action
        return FlowDraw(noisy, action - noise, flow_time, bucket_of(flow_time, options.num_timestep_buckets))

    def integrate(
        self, reading: Reading, noise: Tensor, own: Tensor | None = None, correction: Correction | None = None
    ) -> Tensor:
        """Return actions (B, T, A) by `num_inference_timesteps` Euler steps from noise (B, T, A).

        Args:
            reading: what `read` gave.
            noise: where the way begins.
            own: (B, A) bool, dimensions that a body has; the others stay 0. None: all.
            correction: what is added to velocities, given the bucket and the flow time (B, 1); None adds nothing.
        """
        steps, x = self.config.num_inference_timesteps, noise
        x = x if own is None else torch.where(own[:, None], x, 0.0)
        for step in range(steps):
            flow_time = torch.full((x.shape[0], 1), step / steps, device=x.device)
            bucket = bucket_of(flow_time, self.config.num_timestep_buckets)
            velocity, _ = self(x[:, None], bucket, reading)
            added = None if correction is None else correction(bucket, flow_time)
            velocity = velocity if added is None else velocity + added
            x = x + velocity[:, 0] / steps
            x = x if own is None else torch.where(own[:, None], x, 0.0)
        return x

    def time_embedding(self, bucket: Tensor) -> Tensor:
        """Return (N, W) of flow times as numbers (N,) of buckets."""
        wave = sinusoidal_embedding(bucket / self.config.num_timestep_buckets, TIME_CHANNELS)
        embedded: Tensor = self.time_in(wave.to(self.future.dtype))
        return embedded

    def _sequence(self, x: Tensor, bucket: Tensor, reading: Reading, chunks: int) -> tuple[Tensor, Tensor]:
        """State, future tokens and actions as one sequence (N, S, W), and the flow time (N, W)."""
        dtype = self.future.dtype
        code = sinusoidal_embedding(bucket / self.config.num_timestep_buckets, self.width).to(dtype)
        action = self.action_in(x.to(dtype))
        timed = torch.cat([action, code[:, None].expand_as(action)], dim=-1)
        steps = self.action_time_out(F.silu(self.action_time_in(timed)))
        if self.position is not None:
            steps = steps + self.position[: steps.shape[1]]
        parts = [self.future.expand(x.shape[0], -1, -1), steps]
        if reading.ahead is not None:
            parts.insert(0, reading.ahead.repeat_interleave(chunks, dim=0))
        # What is added up block by block stays float32 under autocast.
        hidden = torch.cat([part.to(dtype) for part in parts], dim=1)
        return hidden, self.time_embedding(bucket)

    def _with_own(self, index: int, hidden: Tensor, source: KeyValue, seen: Tensor) -> tuple[KeyValue, Tensor]:
        """Keys and values of a block with those of every chunk's own sequence, chunk by chunk (N, ...)."""
        key, value = self.blocks[index].remember(self.own_in[index](hidden))
        times = hidden.shape[0] // seen.shape[0]
        joined = tuple(
            torch.cat([kept.repeat_interleave(times, dim=0), own], dim=2)
            for kept, own in zip(source, (key, value), strict=True)
        )
        there = torch.ones_like(hidden[..., 0], dtype=torch.bool)
        return cast(KeyValue, joined), torch.cat([seen.repeat_interleave(times, dim=0), there], dim=1)
