"""Attention to the slots of a memory, and a ring of slots: the last vectors that were pushed, told apart by age.

The attention is that of Vaswani et al. (2017). `SlotAttention.forward` moves the key and value projections from the
slots to the query and the mixture (associativity): a read projects no slot, which counts where a memory is read at
every step. Where a whole sequence is read, each vector is projected once and `sequence` attends to all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.row_state import RowState, choose_rows
from tempovla.model.temporal.memory.explicit import take_vectors


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
        seen = torch.cat([self.null.expand(slots.shape[0], -1, -1), slots], dim=1)
        mask = torch.cat([filled.new_ones(slots.shape[0], 1), filled], dim=1)[:, None, None]
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
        vectors = torch.cat([self.null.expand(query.shape[0], -1, -1), vectors], dim=1)
        keys, values = (x.unflatten(2, split).transpose(1, 2) for x in self.projected(vectors))
        hidden = F.pad(~seen, (1, 0))[:, None]
        weights = (asked @ keys.mT).masked_fill(hidden, float("-inf")).softmax(dim=-1)
        return self.mixed((weights @ values).transpose(1, 2).flatten(2))

    def asked(self, query: Tensor) -> Tensor:
        """Return queries (..., D) projected and scaled, to be compared with keys."""
        return self.query(query) / (query.shape[-1] // self.num_heads) ** 0.5

    def projected(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of vectors (..., D), zeros of zeros: the values' bias is added to the mixture."""
        return self.key(vectors), F.linear(vectors, self.value.weight)

    def mixed(self, values: Tensor) -> Tensor:
        """The output (..., D) of a mixture of values (..., D), whose weights sum to 1."""
        return self.out(values + self.value.bias)


MIN_BLOCK = 32
"""Steps that are read together at least."""


@dataclass(frozen=True)
class Ring(RowState):
    """The last vectors that were pushed, in a ring of S slots.

    Attributes:
        slots: (B, S, D), zeros where they are empty.
        next_slot: (B,) int64, the slot to be written next.
        count: (B,) int64, number of filled slots, which are the first ones.
    """

    slots: Tensor
    next_slot: Tensor
    count: Tensor

    @property
    def filled(self) -> Tensor:
        """(B, S) bool."""
        return torch.arange(self.slots.shape[1], device=self.slots.device) < self.count[:, None]

    @property
    def ages(self) -> Tensor:
        """(B, S) int64: 0 for the slot that was written last, S - 1 for the one that is written next."""
        size = self.slots.shape[1]
        return (self.next_slot[:, None] - 1 - torch.arange(size, device=self.slots.device)) % size

    def target(self) -> tuple[Tensor, Tensor]:
        """Return the content of the next slot (B, D), zeros if it is empty, and whether it is filled (B,)."""
        rows = torch.arange(self.slots.shape[0], device=self.slots.device)
        return self.slots[rows, self.next_slot], self.count == self.slots.shape[1]

    def push(self, content: Tensor, valid: Tensor) -> Ring:
        """Return the ring with content (B, D) in the next slot, in the rows where `valid` (B,) is True."""
        size = self.slots.shape[1]
        here = (torch.arange(size, device=self.slots.device) == self.next_slot[:, None]) & valid[:, None]
        return Ring(
            torch.where(here[..., None], content[:, None], self.slots),
            choose_rows(valid, (self.next_slot + 1) % size, self.next_slot),
            choose_rows(valid, (self.count + 1).clamp(max=size), self.count),
        )

    def in_order(self) -> Tensor:
        """Return the slots (B, S, D), from the one to be written next to the one that was written last."""
        return self._rolled(self.slots, self.next_slot)

    def empty_in_all(self) -> int:
        """Return the number of slots that are empty in every row. This waits for the device."""
        return self.slots.shape[1] - int(self.count.max())

    def full_at(self, start: int, steps: int) -> Tensor:
        """(B, steps) bool, whether a slot is filled when it is written at the steps from `start` on, all valid."""
        step = torch.arange(start, start + steps, device=self.count.device)
        return step >= self.slots.shape[1] - self.count[:, None]

    def after(self, vectors: Tensor, lengths: Tensor | None) -> Ring:
        """Return the ring after a sequence.

        Args:
            vectors: (B, S + T, D), `in_order()` and what was pushed at each of T steps.
            lengths: (B,) how many of these count, the first ones; None means all.
        """
        size = self.slots.shape[1]
        steps = torch.full_like(self.count, vectors.shape[1] - size) if lengths is None else lengths
        next_slot = (self.next_slot + steps) % size
        return Ring(self._rolled(vectors, -next_slot, steps), next_slot, (self.count + steps).clamp(max=size))

    def _rolled(self, vectors: Tensor, shift: Tensor, start: Tensor | None = None) -> Tensor:
        """S of vectors (B, N, D) from `start` (B,) on, turned by `shift` (B,)."""
        size = self.slots.shape[1]
        index = (torch.arange(size, device=vectors.device) + shift[:, None]) % size
        return take_vectors(vectors, index if start is None else index + start[:, None])


def empty_ring(like: Tensor, batch: int, slots: int, dim: int) -> Ring:
    """Return an empty ring in the dtype and on the device of `like`."""
    nothing = torch.zeros(batch, dtype=torch.int64, device=like.device)
    return Ring(like.new_zeros(batch, slots, dim), nothing, nothing)


def check_slots(name: str, slots: int) -> None:
    """Raise ValueError unless there is at least one slot."""
    if slots < 1:
        raise ValueError(f"{name}={slots} must be at least 1")


class RingAttention(nn.Module):
    """Attention to a ring whose slots are told apart by age."""

    def __init__(self, dim: int, slots: int, num_heads: int) -> None:
        super().__init__()
        self.attention = SlotAttention(dim, num_heads)
        self.age = nn.Parameter(0.02 * torch.randn(slots, dim))

    def forward(self, query: Tensor, ring: Ring) -> Tensor:
        """Return what queries (B, Q, D) find (B, Q, D)."""
        return self.attention(query, ring.slots + self.age[ring.ages], ring.filled)

    def sequence(self, query: Tensor, vectors: Tensor, before: Ring) -> Tensor:
        """Return the reads (B, T, D) of T steps, each from the S vectors that are the newest at that step.

        Each vector is projected once, as a slot and its age are added: q (k + a) = q k + q a. Steps are taken in
        blocks, as in local attention; in a block the scores of all pairs are a band of S for each step.

        Args:
            query: (B, T, D).
            vectors: (B, S + T, D), `before.in_order()` and what was pushed at each step, before it was read.
            before: the ring before the first step.
        """
        attention, heads = self.attention, self.attention.num_heads
        size, length, empty = len(self.age), query.shape[1], before.empty_in_all()
        block = -(-length // max(1, length // max(size, MIN_BLOCK)))
        missing = -length % block
        asked = F.pad(attention.asked(query), (0, 0, 0, missing)).unflatten(1, (-1, block))
        asked = asked.unflatten(3, (heads, -1)).transpose(2, 3)  # (B, N, heads, block, D / heads)
        by_age = torch.cat([attention.null[0], self.age.flip(0)])  # the null, then the oldest first
        age_key, age_value = (x.unflatten(1, (heads, -1)).transpose(0, 1) for x in attention.projected(by_age))
        # Slots that are empty in all rows are zeros, projected or not.
        keys, values = (
            _windows(F.pad(x, (0, 0, empty, missing)), size, block).unflatten(3, (heads, -1)).transpose(2, 3)
            for x in attention.projected(vectors[:, empty:])
        )  # (B, N, heads, size + block, D / heads)
        scores = asked @ age_key.mT + F.pad(_band(asked @ keys.mT, size), (1, 0))
        if bool((before.count < size).any()):
            filled = F.pad(before.full_at(0, size + length), (0, missing)).unfold(1, size, 1)[:, 1:]
            filled = F.pad(filled.unflatten(1, (-1, block)), (1, 0), value=True)
            scores = scores.masked_fill(~filled[:, :, None], float("-inf"))
        weights = scores.softmax(dim=-1)
        mixed = weights @ age_value + _spread(weights[..., 1:]) @ values
        return attention.mixed(mixed.transpose(2, 3).flatten(3).flatten(1, 2)[:, :length])


def _windows(x: Tensor, size: int, block: int) -> Tensor:
    """(B, N, size + block, D), windows that start every `block` of x (B, size + N * block, D)."""
    if x.shape[1] == size + block:
        return x[:, None]
    blocks = F.pad(x, (0, 0, block - size, 0)).unflatten(1, (-1, block))
    return torch.cat([blocks[:, :-1, block - size :], blocks[:, 1:]], dim=2)


def _band(x: Tensor, size: int) -> Tensor:
    """(..., Q, size) of x (..., Q, size + Q): of row q the columns q + 1 to q + size."""
    rows, columns = x.shape[-2:]
    flat = F.pad(x.flatten(-2)[..., 1:], (0, rows + 1))
    return flat.unflatten(-1, (rows, columns + 1))[..., :size]


def _spread(x: Tensor) -> Tensor:
    """(..., Q, size + Q) whose `_band` is x (..., Q, size), zeros elsewhere."""
    rows, size = x.shape[-2:]
    flat = F.pad(x, (1, rows)).flatten(-2)
    return flat[..., : rows * (size + rows)].unflatten(-1, (rows, -1))
