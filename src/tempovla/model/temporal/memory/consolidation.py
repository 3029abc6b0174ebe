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
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tempovla.model.layers.row_state import RowState
from tempovla.model.temporal.memory.explicit import take_vectors

MAX_WEIGHT = 1000


@dataclass(frozen=True)
class LongTerm(RowState):
    """Entries of a long-term memory of L slots.

    Attributes:
        entries: (B, L, D), zeros where there is none.
        weight: (B, L) in the dtype of the entries: how many vectors each is the mean of, 0 where nothing is.
    """

    entries: Tensor
    weight: Tensor

    @property
    def filled(self) -> Tensor:
        """(B, L) bool; the filled entries are the first ones."""
        return self.weight > 0


def consolidate(memory: LongTerm, x: Tensor, valid: Tensor, novelty_threshold: float) -> LongTerm:
    """Return the memory after it took in x (B, D), by the rule of this module, where `valid` (B,) is True."""
    rows, size = torch.arange(x.shape[0], device=x.device), memory.weight.shape[1]
    with torch.no_grad():
        likeness = _likeness(x[:, None], memory.entries)[:, 0]
        into, crowded = choose(likeness, memory.weight, novelty_threshold)
        crowded = crowded & valid
    in_graph = torch.compiler.is_exporting() or torch.jit.is_tracing()  # which cannot choose
    if not in_graph and not bool(crowded.any()):
        return _put(memory, valid, into, *merge(memory.entries[rows, into], memory.weight[rows, into], x, 1.0))
    first, second = _most_alike(memory.entries, x)
    into, moves = torch.where(crowded, first, into), crowded & (second < size)
    second = second.clamp(max=size - 1)
    added = torch.where(moves[:, None], memory.entries[rows, second], x)
    added_weight = torch.where(moves, memory.weight[rows, second], 1.0)
    merged = merge(memory.entries[rows, into], memory.weight[rows, into], added, added_weight)
    return _put(_put(memory, valid, into, *merged), moves, second, x, torch.ones_like(added_weight))


def choose(likeness: Tensor, weight: Tensor, novelty_threshold: float) -> tuple[Tensor, Tensor]:
    """Decide where a vector goes.

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
    """Return the mean of entries (B, D) and vectors (B, D) by their weights (B,), and the weight (B,) of the mean."""
    total = weight + added_weight
    return entry + (added_weight / total)[:, None] * (added - entry), total.clamp(max=MAX_WEIGHT)


def _put(memory: LongTerm, rows: Tensor, index: Tensor, entry: Tensor, weight: Tensor) -> LongTerm:
    """The memory with the entry at `index` (B,) replaced in the rows where `rows` (B,) is True."""
    at = (torch.arange(rows.shape[0], device=rows.device), index)
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


def consolidate_sequence(
    memory: LongTerm, x: Tensor, valid: Tensor, novelty_threshold: float
) -> tuple[Tensor, Tensor, LongTerm]:
    """Return what `consolidate` makes of T vectors, one after the other.

    Args:
        memory: before the first step.
        x: (B, T, D), finite.
        valid: (B, T) bool, which are taken in.
        novelty_threshold: as in the rule.

    Returns:
        N vectors (B, N, D), all that was an entry at some step; which of them were entries after each step
        (B, T, N) bool; the memory after the last step.
    """
    active = valid.any(0)
    steps, kept = active.nonzero()[:, 0], int(memory.filled.sum(1).max())
    first, taken = memory.entries[:, :kept], x[:, steps]
    with torch.no_grad():
        course = _Course(first, memory.weight, taken)
        for index, step in enumerate(steps.tolist()):
            course.take_in(index, valid[:, step], novelty_threshold)
    versions = _Combination.apply(*course.versions(), torch.cat([first, taken], dim=1))
    nothing = x.new_zeros(x.shape[0], 1, x.shape[2])
    vectors = torch.cat([nothing, first, versions, *([taken] if course.moved else [])], dim=1)
    held = torch.stack(course.held, dim=1)
    seen = torch.zeros(*held.shape[:2], vectors.shape[1], dtype=torch.bool, device=x.device).scatter_(2, held, True)
    entries = take_vectors(vectors, held[:, -1])
    missing = memory.weight.shape[1] - entries.shape[1]
    after = LongTerm(F.pad(entries, (0, 0, 0, missing)), F.pad(course.weight, (0, missing)))
    return vectors[:, 1:], seen[:, active.cumsum(0), 1:], after


class _Combination(torch.autograd.Function):
    """Versions (B, T, D), which are known to be coefficients (B, T, N) @ sources (B, N, D)."""

    @staticmethod
    def forward(ctx: Any, versions: Tensor, coefficients: Tensor, sources: Tensor) -> Tensor:
        ctx.save_for_backward(coefficients)
        return versions.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.saved_tensors[0].mT @ gradient


class _Course:
    """Working copies, changed in place, of the M entries that can be filled at the end.

    Vectors are known by numbers: 0 is nothing; then come the K first entries, the T versions, one a step, and the T
    vectors themselves, for those that became an entry beside a version.

    Args:
        entries: (B, K, D), those that may be filled at first.
        weight: (B, L) of all entries.
        x: (B, T, D).

    Attributes:
        held: for the time before the first step and after each: the number (B, M) of each entry.
        weight: (B, M).
        moved: whether a vector became an entry beside a version.
    """

    def __init__(self, entries: Tensor, weight: Tensor, x: Tensor) -> None:
        batch, steps, self.dim = x.shape
        self.steps, self.kept, self.size = steps, entries.shape[1], weight.shape[1]
        used = min(self.size, self.kept + steps)
        self.rows = torch.arange(batch, device=x.device)
        self.places = torch.arange(used, device=x.device)
        unity = torch.eye(self.kept + steps, dtype=x.dtype, device=x.device).expand(batch, -1, -1)
        self.sources = torch.cat([x, unity[:, self.kept :]], dim=2)
        self.table = F.pad(torch.cat([entries, unity[:, : self.kept]], dim=2), (0, 0, 0, used - self.kept))
        self.unit, self.unit_x = (F.normalize(vectors, dim=-1) for vectors in (self.table[..., : self.dim], x))
        self.weight = weight[:, :used].clone()
        self.number = torch.where(self.weight > 0, self.places + 1, 0)
        self.held = [self.number.clone()]
        self.record = torch.zeros_like(self.sources)
        self.moved = False
        self.alike: Tensor | None = None

    def versions(self) -> tuple[Tensor, Tensor]:
        """What each step made (B, T, D), and its coefficients (B, T, K + T) over first entries and vectors."""
        return self.record[..., : self.dim], self.record[..., self.dim :]

    def take_in(self, step: int, valid: Tensor, novelty_threshold: float) -> None:
        """Do what `consolidate` does with the vectors of a step."""
        source = self.sources[:, step]
        moves: Tensor | None = None
        likeness = (self.unit @ self.unit_x[:, step, :, None])[..., 0]
        into, crowded = choose(likeness, self.weight, novelty_threshold)
        added, added_weight = source, torch.ones_like(self.weight[:, 0])
        if self.kept + step >= self.size and bool((crowded := crowded & valid).any()):
            first, second = self._most_alike(likeness)
            into, moves = torch.where(crowded, first, into), crowded & (second < self.size)
            second = second.clamp(max=self.size - 1)
            added = torch.where(moves[:, None], self.table[self.rows, second], source)
            added_weight = torch.where(moves, self.weight[self.rows, second], added_weight)
        merged, weight = merge(self.table[self.rows, into], self.weight[self.rows, into], added, added_weight)
        self.record[:, step] = merged
        self._put(valid, into, merged, weight, 1 + self.kept + step)
        if moves is not None:
            self.moved = True
            self._put(moves, second, source, torch.ones_like(weight), 1 + self.kept + self.steps + step)
        self.held.append(self.number.clone())

    def _put(self, valid: Tensor, index: Tensor, vector: Tensor, weight: Tensor, number: int) -> None:
        """Replace the entry at `index` (B,) in the rows where `valid` (B,) is True."""
        at, changed = (self.rows, index), valid[:, None]
        self.table[at] = torch.where(changed, vector, self.table[at])
        self.unit[at] = torch.where(changed, F.normalize(vector[:, : self.dim], dim=-1), self.unit[at])
        self.weight[at] = torch.where(valid, weight, self.weight[at])
        self.number[at] = torch.where(valid, number, self.number[at])
        if self.alike is not None:
            self._compare(index)

    def _most_alike(self, likeness: Tensor) -> tuple[Tensor, Tensor]:
        """Indices i < j (B,) of the most alike pair among the L entries and a vector, which has the index L."""
        if self.alike is None:  # cosines of i < j, kept up to date from here on
            below = torch.ones(self.size, self.size, dtype=torch.bool, device=likeness.device).tril()
            alike = (self.unit @ self.unit.mT).masked_fill(below, -torch.inf)
            self.alike = F.pad(alike, (0, 1), value=-torch.inf)
        self.alike[..., self.size] = likeness
        pair = self.alike.flatten(1).argmax(dim=1)
        return pair // (self.size + 1), pair % (self.size + 1)

    def _compare(self, index: Tensor) -> None:
        """Update the cosines of the entry at `index` (B,)."""
        assert self.alike is not None
        likeness = (self.unit @ self.unit[self.rows, index][..., None])[..., 0]
        place, index_ = self.places, index[:, None]
        self.alike[self.rows, index, : self.size] = likeness.masked_fill(place <= index_, -torch.inf)
        self.alike[self.rows, :, index] = likeness.masked_fill(place >= index_, -torch.inf)
