"""Attention of queries to the slots of a memory, with a learned null beside them.

The multi-head attention of Vaswani et al. (2017). `forward` moves the key and value projections from the slots to the
query and the mixture (associativity): a read projects no slot, which counts where a memory is read at every step.
Where a whole sequence is read, each vector is projected once and `sequence` attends to all of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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

    def sequence(self, query: Tensor, vectors: Tensor, seen: Tensor) -> Tensor:
        """(B, T, D) from queries (B, T, D) and vectors (B, N, D), of which `seen` (B, T, N) bool are seen by each."""
        split = (self.num_heads, -1)
        asked = self.asked(query).unflatten(2, split).transpose(1, 2)
        vectors = torch.cat([self.null.expand(len(query), -1, -1), vectors], dim=1)
        keys, values = (x.unflatten(2, split).transpose(1, 2) for x in self.projected(vectors))
        hidden = F.pad(~seen, (1, 0))[:, None]
        weights = (asked @ keys.mT).masked_fill(hidden, float("-inf")).softmax(dim=-1)
        return self.mixed((weights @ values).transpose(1, 2).flatten(2))

    def asked(self, query: Tensor) -> Tensor:
        """What queries (..., D) ask keys for, scaled."""
        return self.query(query) / (query.shape[-1] // self.num_heads) ** 0.5

    def projected(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of vectors (..., D), zeros of zeros: the values' bias is added to the mixture."""
        return self.key(vectors), F.linear(vectors, self.value.weight)

    def mixed(self, values: Tensor) -> Tensor:
        """The output (..., D) of a mixture of values (..., D), whose weights sum to 1."""
        return self.out(values + self.value.bias)
