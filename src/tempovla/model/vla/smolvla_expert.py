"""SmolVLA's action expert: a narrow transformer over noisy actions that reads every layer of the language model.

Its layers have Llama's layout, and as many heads of the same size as the language model's, whose keys and values they
can so attend to. By turns they attend to these and their own steps together, causally, and to these alone, through a
projection of the expert's (Shukor et al., 2025, section 3.1). The names of the weights are LeRobot's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.dtype import in_dtype_of
from tempovla.model.layers.embedding import sinusoidal_embedding
from tempovla.model.layers.grouped_attention import Rotary, grouped_attend, join_heads, rotate, split_heads
from tempovla.model.layers.recompute import Recompute
from tempovla.model.vla.smolvla_config import SmolVLAConfig
from tempovla.model.vlm.smolvlm import KeyValue, PrefixCache, SmolVLMBackbone


@dataclass(frozen=True)
class ExpertMemory:
    """The keys and values for the expert, computed once a chunk.

    Attributes:
        layers: keys and values for every layer of the expert, both (B, groups, S, head_dim).
        seen: (B, S) bool, which tokens are attended to; at least one a row.
        length: (B,) how many tokens were valid: the position of the first step.
    """

    layers: tuple[KeyValue, ...]
    seen: Tensor
    length: Tensor


class ExpertAttention(nn.Module):
    """Attention to the language model's keys and values, and in every layer that does not cross to one's own."""

    def __init__(self, width: int, heads: int, groups: int, head_dim: int, *, bias: bool, crosses: bool) -> None:
        super().__init__()
        self.head_dim, self.crosses = head_dim, crosses
        source = groups * head_dim if crosses else width
        self.q_proj = nn.Linear(width, heads * head_dim, bias=bias)
        self.k_proj = nn.Linear(source, groups * head_dim, bias=bias)
        self.v_proj = nn.Linear(source, groups * head_dim, bias=bias)
        self.o_proj = nn.Linear(heads * head_dim, width, bias=bias)

    def remember(self, key: Tensor, value: Tensor) -> KeyValue:
        """Return this layer's keys and values, from the language model's (B, groups, S, head_dim)."""
        if not self.crosses:
            dtype = _compute_dtype(self.q_proj.weight)
            return key.to(dtype), value.to(dtype)
        dtype = self.k_proj.weight.dtype
        keys, values = self.k_proj(join_heads(key).to(dtype)), self.v_proj(join_heads(value).to(dtype))
        return split_heads(keys, self.head_dim), split_heads(values, self.head_dim)

    def forward(self, x: Tensor, source: KeyValue, rotary: Rotary, mask: Tensor) -> Tensor:
        """Map (B, L, width) to the same."""
        query = rotate(split_heads(self.q_proj(x), self.head_dim), rotary)
        key, value = source
        if not self.crosses:
            own = rotate(split_heads(self.k_proj(x), self.head_dim), rotary)
            key = torch.cat([key, own], dim=2)
            value = torch.cat([value, split_heads(self.v_proj(x), self.head_dim)], dim=2)
        return self.o_proj(join_heads(grouped_attend(query, key, value, mask)))


class GatedMLP(nn.Module):
    """Llama's feed-forward layer."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class ExpertLayer(nn.Module):
    """Attention and a feed-forward layer, each behind a norm and around a residual."""

    def __init__(self, width: int, attention: ExpertAttention, eps: float) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(width, eps)
        self.self_attn = attention
        self.post_attention_layernorm = nn.RMSNorm(width, eps)
        self.mlp = GatedMLP(width, inner_width(width))

    def forward(self, x: Tensor, source: KeyValue, rotary: Rotary, mask: Tensor) -> Tensor:
        """Map (B, L, width) to the same."""
        x = x + self.self_attn(self.input_layernorm(x), source, rotary, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class ActionExpert(Recompute):
    """Computes velocities of noisy actions, given the language model's hidden states.

    Args:
        config: sizes.
        vlm: the language model beside it.

    Raises:
        ValueError: if its layers do not divide the language model's, or its width is odd.
    """

    def __init__(self, config: SmolVLAConfig, vlm: SmolVLMBackbone) -> None:
        super().__init__()
        text = vlm.text_model.config
        depth, every = config.num_expert_layers or text.num_hidden_layers, config.self_attn_every_n_layers
        if text.num_hidden_layers % depth:
            raise ValueError(
                f"model.num_expert_layers={depth} does not divide the {text.num_hidden_layers} layers of the language "
                "model that are used; choose a divisor, or null for as many"
            )
        width = int(text.hidden_size * config.expert_width_multiplier)
        if width % 2 or not width:
            raise ValueError(
                f"model.expert_width_multiplier={config.expert_width_multiplier} of {text.hidden_size} makes an expert "
                f"of width {width}; choose one that makes it even"
            )
        self.width, self.stride, self.head_dim = width, text.num_hidden_layers // depth, vlm.head_dim
        self.periods = {"min_period": config.min_period, "max_period": config.max_period}
        heads = (text.num_attention_heads, text.num_key_value_heads, vlm.head_dim)
        crosses = [not every or index % every > 0 for index in range(depth)]
        layers = nn.ModuleList(
            ExpertLayer(
                width,
                ExpertAttention(width, *heads, bias=text.attention_bias, crosses=cross),
                text.rms_norm_eps,
            )
            for cross in crosses
        )
        self.layers = cast(Sequence[ExpertLayer], layers)
        self.norm = nn.RMSNorm(width, text.rms_norm_eps)
        self.action_in_proj = nn.Linear(config.max_action_dim, width)
        self.action_out_proj = nn.Linear(width, config.max_action_dim)
        self.action_time_mlp_in = nn.Linear(2 * width, width)
        self.action_time_mlp_out = nn.Linear(width, width)

    def remember(self, cache: PrefixCache) -> ExpertMemory:
        """Return the keys and values of all layers, from the language model's."""
        sources = cache.layers[:: self.stride]
        layers = tuple(layer.self_attn.remember(*source) for layer, source in zip(self.layers, sources, strict=True))
        # A row with nothing to see sees what stands in the place of it: zeros.
        seen = cache.valid | ~cache.valid.any(dim=1, keepdim=True)
        return ExpertMemory(layers, seen, cache.valid.sum(dim=1))

    def velocity(self, x: Tensor, flow_time: Tensor, memory: ExpertMemory, vlm: SmolVLMBackbone) -> Tensor:
        """Return the velocity (B, R, H, max_action_dim) float32 of R chunks a row, which do not see each other.

        Args:
            x: (B, R, H, max_action_dim).
            flow_time: (B, R) in [0, 1].
            memory: the value of `remember`.
            vlm: whose rotary positions are used.
        """
        batch, chunks, steps = x.shape[:3]
        time = sinusoidal_embedding(flow_time.flatten(), self.width, **self.periods)
        action = self.action_in_proj(in_dtype_of(self, x)).flatten(1, 2)
        time = time.to(action.dtype).unflatten(0, (batch, chunks)).repeat_interleave(steps, dim=1)
        hidden = self.action_time_mlp_out(F.silu(self.action_time_mlp_in(torch.cat([action, time], dim=2))))
        hidden = hidden.to(self.norm.weight.dtype)  # what is added up layer by layer stays float32 under autocast
        place = torch.arange(steps, device=x.device).repeat(chunks)[None]
        among_all = vlm.rotary(hidden, place + memory.length[:, None])
        alone = vlm.rotary(hidden, place)
        to_tokens = memory.seen[:, None, None]
        to_all = torch.cat([to_tokens.expand(-1, 1, len(place[0]), -1), _own_steps(batch, chunks, place)], dim=3)
        for layer, source in zip(self.layers, memory.layers, strict=True):
            crosses = layer.self_attn.crosses
            rotary, mask = (alone, to_tokens) if crosses else (among_all, to_all)
            hidden = self.run_layer(layer, hidden, source, rotary, mask)
        velocity = self.action_out_proj(self.norm(hidden))
        return velocity.float().unflatten(1, (chunks, steps))


def inner_width(width: int) -> int:
    """Return the width of the feed-forward layers: 8/3 of the expert's, rounded up to a multiple of 256, as Llama has
    it.
    """
    inner = 4 * int(2 * width / 3)
    return -(-inner // 256) * 256


def _own_steps(batch: int, chunks: int, place: Tensor) -> Tensor:
    """(B, 1, R * H, R * H) bool: a step sees those of its own chunk up to itself."""
    steps = place.shape[1] // chunks
    chunk = torch.arange(chunks, device=place.device).repeat_interleave(steps)
    own = (chunk[:, None] == chunk) & (place[0][:, None] >= place[0])
    return own.expand(batch, 1, -1, -1)


def _compute_dtype(weight: Tensor) -> torch.dtype:
    """What a linear layer of this weight gives."""
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
