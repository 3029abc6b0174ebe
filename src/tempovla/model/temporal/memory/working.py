"""Working memory: a ring of slots, a gate on each write, attention on reads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tempovla.model.layers.row_state import choose_rows
from tempovla.model.temporal.memory.explicit import ExplicitMemory
from tempovla.model.temporal.memory.slots import Ring, RingAttention, check_slots, empty_ring
from tempovla.model.temporal.object_style import GatedMemoryObject


class WorkingMemory(GatedMemoryObject[Ring], ExplicitMemory[Ring, Tensor]):
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
        """Return the state of `batch` rows that have seen nothing."""
        return empty_ring(self.write_gate.weight, batch, self.memory_slots, self.hidden_dim)

    def gated_update(self, state: Ring, current: Tensor) -> Tensor:
        """Mix the current state (B, hidden_dim) with what the memory recalls of it: g * current + (1 - g) * read.

        The gate g is learned. Takes what `read_from` takes, changes nothing, and returns a tensor like the query.
        """
        return self.mixed(current, self.read_from(state, current))

    def mixed(self, current: Tensor, recalled: Tensor) -> Tensor:
        """Return g * current + (1 - g) * recalled, with the learned gate g."""
        gate = torch.sigmoid(self.output_gate(torch.cat([current.to(recalled.dtype), recalled], dim=-1)))
        return gate * current + (1 - gate) * recalled

    def _write(self, state: Ring, content: Tensor, valid: Tensor) -> Ring:
        old, full = state.target()
        return state.push(choose_rows(full, self._mix(content, old), content), valid)

    def _mix(self, content: Tensor, old: Tensor) -> Tensor:
        """Return what full slots hold after a write; both arguments are (..., H)."""
        gate = torch.sigmoid(self.write_gate(torch.cat([content, old], dim=-1)))
        return gate * content + (1 - gate) * old

    def _sequence(self, state: Ring, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Ring]:
        """Compute all reads at once, and the writes in blocks, as a slot is written every `memory_slots` steps."""
        empty = state.empty_in_all()
        written = [state.in_order(), x[:, :empty]]
        # A gate that nothing passes still gets a gradient, of zeros: a distributed step waits for every weight.
        for start in range(empty, max(x.shape[1], empty + 1), self.memory_slots):
            content = x[:, start : start + self.memory_slots]
            old = torch.cat(written[-2:], dim=1)[:, -self.memory_slots :][:, : content.shape[1]]
            full = state.full_at(start, content.shape[1])[..., None]
            written.append(torch.where(full, self._mix(content, old), content))
        vectors = torch.cat(written, dim=1)
        return self.attention.sequence(x, vectors, state), state.after(vectors, lengths)

    def _read(self, state: Ring, query: Tensor) -> Tensor:
        return self.attention(query, state)
