"""How a long-term memory takes in what leaves the short-term one: by novelty, merging what is alike.

The rule, for a vector x, the entries of a row, and the cosine distance d = 1 - cos:

1. x is novel if there is no entry, or the nearest is farther than `novelty_threshold`.
2. What is not novel is merged into the nearest entry.
3. What is novel becomes an entry of its own; if all entries are taken, the two most alike among the entries and x are
   merged first (x included, so that what is forgotten is what differs least).

Merging makes the mean of all vectors that went into both, weighted by how many these are, of which at most
`MAX_WEIGHT` are counted: then the mean becomes a moving one. Which entries are merged is a choice without gradient; the
vectors themselves carry theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tempovla.model.layers.row_state import RowState

MAX_WEIGHT = 1000


@dataclass(frozen=True)
class LongTerm(RowState):
    """Entries of a long-term memory of L slots.

    Attributes:
        entries: (B, L, D), zeros where nothing is.
        weight: (B, L) in the dtype of the entries: how many vectors each is the mean of, 0 where nothing is.
    """

    entries: Tensor
    weight: Tensor

    @property
    def filled(self) -> Tensor:
        """(B, L) bool; the filled entries are the first ones."""
        return self.weight > 0


def consolidate(memory: LongTerm, x: Tensor, valid: Tensor, novelty_threshold: float) -> LongTerm:
    """The memory after taking in x (B, D) in the rows where `valid` (B,) is True, by the rule of this module."""
    rows, size = torch.arange(len(x), device=x.device), memory.weight.shape[1]
    with torch.no_grad():
        likeness = _likeness(x[:, None], memory.entries)[:, 0]
        into, crowded = choose(likeness, memory.weight, novelty_threshold)
        crowded = crowded & valid
    if not bool(crowded.any()):
        return _put(memory, valid, into, *merge(memory.entries[rows, into], memory.weight[rows, into], x, 1.0))
    first, second = _most_alike(memory.entries, x)
    into, moves = torch.where(crowded, first, into), crowded & (second < size)
    second = second.clamp(max=size - 1)
    added = torch.where(moves[:, None], memory.entries[rows, second], x)
    added_weight = torch.where(moves, memory.weight[rows, second], 1.0)
    merged = merge(memory.entries[rows, into], memory.weight[rows, into], added, added_weight)
    return _put(_put(memory, valid, into, *merged), moves, second, x, torch.ones_like(added_weight))


def choose(likeness: Tensor, weight: Tensor, novelty_threshold: float) -> tuple[Tensor, Tensor]:
    """Where a vector goes.

    Args:
        likeness: (B, L) of the vector to each entry.
        weight: (B, L) of the entries, 0 where nothing is.
        novelty_threshold: as in the rule.

    Returns:
        The entry (B,) into which it is merged, an empty one if it is novel (the mean of nothing and a vector is the
        vector); whether it is novel (B,) and no entry is empty.
    """
    size, filled = weight.shape[1], weight > 0
    nearest_likeness, nearest = likeness.masked_fill(~filled, -torch.inf).max(dim=1)
    novel, count = 1 - nearest_likeness > novelty_threshold, filled.sum(1)
    return torch.where(novel, count.clamp(max=size - 1), nearest), novel & (count == size)


def merge(entry: Tensor, weight: Tensor, added: Tensor, added_weight: Tensor | float) -> tuple[Tensor, Tensor]:
    """The mean of entries (B, D) and vectors (B, D) by their weights (B,), and its weight (B,)."""
    total = weight + added_weight
    return entry + (added_weight / total)[:, None] * (added - entry), total.clamp(max=MAX_WEIGHT)


def _put(memory: LongTerm, rows: Tensor, index: Tensor, entry: Tensor, weight: Tensor) -> LongTerm:
    """The memory with the entry at `index` (B,) replaced in the rows where `rows` (B,) is True."""
    at = (torch.arange(len(rows), device=rows.device), index)
    entry = torch.where(rows[:, None], entry, memory.entries[at])
    return LongTerm(
        memory.entries.index_put(at, entry), memory.weight.index_put(at, torch.where(rows, weight, memory.weight[at]))
    )


def _likeness(a: Tensor, b: Tensor) -> Tensor:
    """Cosine similarity (B, M, N) of vectors (B, M, D) and (B, N, D); 0 with a vector of zeros."""
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).mT


def _most_alike(entries: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Indices i < j (B,) of the most alike pair among entries (B, L, D) and x (B, D), which has the index L."""
    everything = torch.cat([entries, x[:, None]], dim=1)
    likeness = _likeness(everything, everything)
    size = likeness.shape[-1]
    upper = torch.ones(size, size, dtype=torch.bool, device=x.device).triu(1)
    flat = likeness.masked_fill(~upper, -torch.inf).flatten(1).argmax(dim=1)
    return flat // size, flat % size
