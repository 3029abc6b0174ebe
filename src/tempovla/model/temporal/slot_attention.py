"""Attention of queries to the slots of a memory, with a learned null beside them.

The multi-head attention of Vaswani et al. (2017), with the key and value projections moved from the slots to the query
and the mixture (associativity): a read projects no slot, which counts where a memory is read at every step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SlotAttention(nn.Module):
    """Multi-head attention to slots of which some may be empty; a null that is never empty takes part.

    Args:
        dim: width D of queries, slots and outputs.
        num_heads: attention heads; they divide `dim`.

    Raises:
        ValueError: if they do not.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueError(f"hidden_dim={dim} is not divisible by num_heads={num_heads}; choose heads that divide it")
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.null = nn.Parameter(torch.randn(1, 1, dim))

    def forward(self, query: Tensor, slots: Tensor, filled: Tensor) -> Tensor:
        """(B, Q, D) from queries (B, Q, D) and slots (B, S, D), finite, of which `filled` (B, S) bool are seen."""
        heads = self.num_heads
        seen = torch.cat([self.null.expand(len(slots), -1, -1), slots], dim=1)
        mask = torch.cat([filled.new_ones(len(slots), 1), filled], dim=1)[:, None, None]
        asked = self.query(query).unflatten(2, (heads, -1))
        key = self.key.weight.unflatten(0, (heads, -1))
        asked = torch.einsum("bqhd,hdf->bhqf", asked, key) / asked.shape[-1] ** 0.5
        scores = torch.einsum("bhqf,bsf->bhqs", asked, seen).masked_fill(~mask, float("-inf"))
        mixed = torch.einsum("bhqs,bsf->bqhf", scores.softmax(dim=-1), seen)
        value = self.value.weight.unflatten(0, (heads, -1))
        return self.out(torch.einsum("bqhf,hdf->bqhd", mixed, value).flatten(2) + self.value.bias)
