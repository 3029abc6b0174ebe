"""Short-term memory: a ring of slots, a gate on each write, attention on reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor, nn

from tempovla.model.temporal.explicit_memory import ExplicitMemory, choose_rows, zero_rows
from tempovla.model.temporal.slot_attention import SlotAttention


@dataclass(frozen=True)
class Ring:
    """The last vectors that were pushed, in a ring of S slots.

    Attributes:
        slots: (B, S, D), zeros where nothing is.
        next_slot: (B,) int64, the slot that is written next.
        count: (B,) int64, slots that are filled; these are the first ones.
    """

    slots: Tensor
    next_slot: Tensor
    count: Tensor

    def reset(self, rows: Tensor) -> Ring:
        """The ring with the rows where `rows` (B,) bool is True as new."""
        return Ring(*(zero_rows(x, rows) for x in (self.slots, self.next_slot, self.count)))

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
        """What is in the next slot (B, D), zeros if nothing, and whether something is (B,)."""
        rows = torch.arange(len(self.slots), device=self.slots.device)
        return self.slots[rows, self.next_slot], self.count == self.slots.shape[1]

    def push(self, content: Tensor, valid: Tensor) -> Ring:
        """The ring with content (B, D) in the next slot, in the rows where `valid` (B,) is True."""
        size = self.slots.shape[1]
        here = (torch.arange(size, device=self.slots.device) == self.next_slot[:, None]) & valid[:, None]
        return Ring(
            torch.where(here[..., None], content[:, None], self.slots),
            choose_rows(valid, (self.next_slot + 1) % size, self.next_slot),
            choose_rows(valid, (self.count + 1).clamp(max=size), self.count),
        )


def empty_ring(like: Tensor, batch: int, slots: int, dim: int) -> Ring:
    """A ring in which nothing is, in the dtype and on the device of `like`."""
    nothing = torch.zeros(batch, dtype=torch.int64, device=like.device)
    return Ring(like.new_zeros(batch, slots, dim), nothing, nothing)


class RingAttention(nn.Module):
    """Attention to a ring whose slots are told apart by age."""

    def __init__(self, dim: int, slots: int, num_heads: int) -> None:
        super().__init__()
        self.attention = SlotAttention(dim, num_heads)
        self.age = nn.Parameter(0.02 * torch.randn(slots, dim))

    def forward(self, query: Tensor, ring: Ring) -> Tensor:
        """(B, Q, D) from queries (B, Q, D)."""
        return self.attention(query, ring.slots + self.age[ring.ages], ring.filled)


class WorkingMemory(ExplicitMemory[Ring, Tensor]):
    """Fixed slots for the current task's context.

    Slots are filled one after the other, then again from the oldest. An empty slot takes the new state whole; a filled
    one takes z * new + (1 - z) * old, with a learned gate z for each feature (as in a GRU, Cho et al., 2014), so that
    training can decide to keep something longer than `memory_slots` steps. At first z is about 0.95: a window.

    Args:
        hidden_dim: features H.
        memory_slots: number of slots.
        num_heads: attention heads of a read; they divide `hidden_dim`.

    Raises:
        ValueError: if there are no slots or the heads do not divide `hidden_dim`.
    """

    def __init__(self, hidden_dim: int, memory_slots: int = 32, num_heads: int = 8) -> None:
        super().__init__(hidden_dim)
        check_slots("memory_slots", memory_slots)
        self.memory_slots = memory_slots
        self.attention = RingAttention(hidden_dim, memory_slots, num_heads)
        self.write_gate = nn.Linear(2 * hidden_dim, hidden_dim)
        self.output_gate = nn.Linear(2 * hidden_dim, hidden_dim)
        nn.init.constant_(self.write_gate.bias, 3.0)

    def initial_state(self, batch: int) -> Ring:
        """The state of `batch` rows that have seen nothing."""
        return empty_ring(self.write_gate.weight, batch, self.memory_slots, self.hidden_dim)

    @overload
    def update(self, new_state: Tensor, /) -> None: ...
    @overload
    def update(self, state: Ring, new_state: Tensor, /, valid: Tensor | None = None) -> Ring: ...
    def update(self, *args, **kwargs):
        """Another name of `write`."""
        return self.write(*args, **kwargs)

    @overload
    def get_gated_update(self, current_state: Tensor, /) -> Tensor: ...
    @overload
    def get_gated_update(self, state: Ring, current_state: Tensor, /) -> Tensor: ...
    def get_gated_update(self, *args):
        """Mix the current state with what it recalls: g * current + (1 - g) * read, with a learned gate g.

        Takes what `read` takes, changes nothing, and returns a tensor like the query.
        """
        current = args[-1]
        recalled = self.read(*args)
        gate = torch.sigmoid(self.output_gate(torch.cat([current.to(recalled.dtype), recalled], dim=-1)))
        return gate * current + (1 - gate) * recalled

    def _write(self, state: Ring, content: Tensor, valid: Tensor) -> Ring:
        old, full = state.target()
        gate = torch.sigmoid(self.write_gate(torch.cat([content, old], dim=-1)))
        return state.push(choose_rows(full, gate * content + (1 - gate) * old, content), valid)

    def _read(self, state: Ring, query: Tensor) -> Tensor:
        return self.attention(query, state)

    def _output(self, read: Tensor) -> Tensor:
        return read

    def _map(self, read: Tensor, shape: tuple[int, ...]) -> Tensor:
        return read.reshape(shape)


def check_slots(name: str, slots: int) -> None:
    """Raise ValueError unless there is a slot at least."""
    if slots < 1:
        raise ValueError(f"{name}={slots} must be at least 1")
