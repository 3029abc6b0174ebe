"""Attention of language models by the fastest way that there is, chosen when it runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tempovla.model.layers.transformer import attend, fused_is_slow

AUTO = "tempovla_auto"
"""Name under which transformers finds it, once registered."""


def register_auto_attention() -> None:
    """Register `attn_implementation=AUTO` with transformers."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(AUTO, auto_attention)
    AttentionMaskInterface.register(AUTO, auto_mask)


def reading_waits(device: torch.device) -> bool:
    """Return whether reading a value of a tensor waits for all that a device has to do."""
    return device.type != "cpu"


def auto_mask(attention_mask: Tensor | None = None, **options: Any) -> Tensor | None:
    """Return the mask of torch's fused attention, without looking whether there is padding where that would wait.

    Arguments as transformers has them.
    """
    from transformers.masking_utils import sdpa_mask

    if attention_mask is not None and reading_waits(attention_mask.device):
        options["allow_is_causal_skip"] = False
    return sdpa_mask(attention_mask=attention_mask, **options)


def auto_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return Torch's fused attention; the plain formula in training on a CPU in bfloat16, where it is several times
    faster.

    Arguments as transformers has them: query (B, heads, L, D), key and value (B, groups, S, D), a bool mask
    (B, 1, L, S) or None for a causal one. Returns (B, L, heads, D).
    """
    if dropout or not torch.is_grad_enabled() or not fused_is_slow(query):
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    if scaling is not None:
        query = query * (scaling * query.shape[-1] ** 0.5)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    mixed = attend(query, key, value, causal=attention_mask is None, mask=attention_mask)
    return mixed.transpose(1, 2).contiguous(), None
