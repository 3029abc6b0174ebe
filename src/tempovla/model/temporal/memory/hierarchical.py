"""A short-term memory of what was seen last, and a long-term memory of what was novel in the rest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tempovla.model.layers.row_state import RowState
from tempovla.model.temporal.memory.config import check_novelty
from tempovla.model.temporal.memory.consolidation import LongTerm, consolidate, consolidate_sequence
from tempovla.model.temporal.memory.explicit import ExplicitMemory
from tempovla.model.temporal.memory.slots import Ring, RingAttention, SlotAttention, check_slots, empty_ring
from tempovla.model.temporal.object_style import TwoLevelMemoryObject

Reads = dict[str, Tensor]
"""`short_term`, `long_term` and `fused`, each like the query."""


@dataclass(frozen=True)
class HierarchicalState(RowState):
    """All that a hierarchical memory remembers.

    Attributes:
        slots, next_slot, count: the short-term memory, as `Ring` has them.
        entries, weight: the long-term memory, as `LongTerm` has them.
    """

    slots: Tensor
    next_slot: Tensor
    count: Tensor
    entries: Tensor
    weight: Tensor

    @classmethod
    def of(cls, short: Ring, long: LongTerm) -> HierarchicalState:
        """Return the state of both."""
        return cls(short.slots, short.next_slot, short.count, long.entries, long.weight)

    @property
    def short(self) -> Ring:
        """The short-term memory."""
        return Ring(self.slots, self.next_slot, self.count)

    @property
    def long(self) -> LongTerm:
        """The long-term memory."""
        return LongTerm(self.entries, self.weight)

    def reset(self, rows: Tensor, reset_long_term: bool = True) -> HierarchicalState:
        """Return the state with the rows where `rows` (B,) bool is True as new, or only their short-term memory."""
        return self.of(self.short.reset(rows), self.long.reset(rows) if reset_long_term else self.long)


class HierarchicalMemory(TwoLevelMemoryObject[HierarchicalState, Reads], ExplicitMemory[HierarchicalState, Reads]):
    """A short-term memory of the last states, and a long-term one of what leaves it by the rule of `consolidation`.

    Args:
        hidden_dim: features H.
        short_term_slots: last states that are kept as they are.
        long_term_slots: entries of the long-term memory.
        num_heads: attention heads of a read; they divide `hidden_dim`.
        novelty_threshold: cosine distance, 0 to 2, above which a state is an entry of its own.

    Raises:
        ValueError: if there are no slots, the heads do not divide `hidden_dim`, or the threshold is not a distance.
    """

    def __init__(
        self,
        hidden_dim: int,
        short_term_slots: int = 32,
        long_term_slots: int = 256,
        num_heads: int = 8,
        novelty_threshold: float = 0.1,
    ) -> None:
        super().__init__(hidden_dim)
        check_slots("short_term_slots", short_term_slots)
        check_slots("long_term_slots", long_term_slots)
        check_novelty(novelty_threshold)
        self.short_term_slots, self.long_term_slots = short_term_slots, long_term_slots
        self.novelty_threshold = novelty_threshold
        self.short_term = RingAttention(hidden_dim, short_term_slots, num_heads)
        self.long_term = SlotAttention(hidden_dim, num_heads)
        self.fusion_gate = nn.Linear(3 * hidden_dim, hidden_dim)

    def initial_state(self, batch: int) -> HierarchicalState:
        """Return the state of `batch` rows that have seen nothing."""
        weights, long = self.fusion_gate.weight, self.long_term_slots
        ring = empty_ring(weights, batch, self.short_term_slots, self.hidden_dim)
        return HierarchicalState.of(
            ring, LongTerm(weights.new_zeros(batch, long, self.hidden_dim), weights.new_zeros(batch, long))
        )

    def _write(self, state: HierarchicalState, content: Tensor, valid: Tensor) -> HierarchicalState:
        leaving, full = state.short.target()
        long = consolidate(state.long, leaving, valid & full, self.novelty_threshold)
        return state.of(state.short.push(content, valid), long)

    def _sequence(
        self, state: HierarchicalState, x: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, HierarchicalState]:
        """Compute all reads at once; only the choices of consolidation are made step by step."""
        steps = x.shape[1]
        vectors = torch.cat([state.short.in_order(), x], dim=1)
        leaves = state.short.full_at(0, steps)
        if lengths is not None:
            leaves = leaves & (torch.arange(steps, device=x.device) < lengths[:, None])
        known, seen, long = consolidate_sequence(state.long, vectors[:, :steps], leaves, self.novelty_threshold)
        short = self.short_term.sequence(x, vectors, state.short)
        fused = self._fuse(x, short, self.long_term.sequence(x, known, seen))
        return fused, state.of(state.short.after(vectors, lengths), long)

    def _read(self, state: HierarchicalState, query: Tensor) -> Reads:
        short = self.short_term(query, state.short)
        long = self.long_term(query, state.entries, state.long.filled)
        return {"short_term": short, "long_term": long, "fused": self._fuse(query, short, long)}

    def _fuse(self, query: Tensor, short: Tensor, long: Tensor) -> Tensor:
        gate = torch.sigmoid(self.fusion_gate(torch.cat([query, short, long], dim=-1)))
        return gate * short + (1 - gate) * long

    def _output(self, read: Reads) -> Tensor:
        return read["fused"]
