"""Execution of chunks, one action a step: receding horizon and temporal ensembling (ACT, Zhao et al., 2023)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tempovla.model.action_head.base import check_sizes

NEVER = -1


@dataclass(frozen=True)
class ChunkState:
    """The chunks a row still has actions of, newest first.

    Attributes:
        chunks: (B, N, H, A).
        age: (B, N) int64, steps since each was predicted; -1 where there is none.
    """

    chunks: Tensor
    age: Tensor


class ActionChunker:
    """Plays chunks, a new one every `execution_horizon` steps; pure functions of an explicit state.

    Without ensembling a step's action is that of the newest chunk. With `ensemble_decay` m it is the mean of what all
    chunks predicted for this step, with weights exp(-m i), i = 0 for the oldest (ACT, algorithm 2): the larger m, the
    longer an old prediction counts.

    Args:
        chunk_size: steps H of a chunk.
        execution_horizon: steps until a row asks for the next chunk.
        ensemble_decay: m; None: no ensembling.

    Raises:
        ValueError: if a chunk ends before the next one comes, or the decay is negative.
    """

    def __init__(self, chunk_size: int = 16, execution_horizon: int = 1, ensemble_decay: float | None = None) -> None:
        check_sizes("ActionChunker", chunk_size=chunk_size, execution_horizon=execution_horizon)
        if execution_horizon > chunk_size:
            raise ValueError(
                f"ActionChunker: execution_horizon={execution_horizon} exceeds chunk_size={chunk_size}; lower it"
            )
        if ensemble_decay is not None and ensemble_decay < 0:
            raise ValueError(f"ActionChunker: ensemble_decay={ensemble_decay} must be 0 or more, or None for none")
        self.chunk_size = chunk_size
        self.execution_horizon = execution_horizon
        self.ensemble_decay = ensemble_decay
        self.kept = 1 if ensemble_decay is None else -(-chunk_size // execution_horizon)

    def init(self, batch_size: int, action_dim: int, device: torch.device | str = "cpu") -> ChunkState:
        """Return the state of rows that have no chunk yet."""
        chunks = torch.zeros(batch_size, self.kept, self.chunk_size, action_dim, device=device)
        return ChunkState(chunks, torch.full((batch_size, self.kept), NEVER, device=device))

    def needs_chunk(self, state: ChunkState) -> Tensor:
        """Return (B,) True for rows that want a chunk with the next step."""
        newest = state.age[:, 0]
        return (newest == NEVER) | (newest >= self.execution_horizon)

    def step(self, state: ChunkState, chunk: Tensor | None = None) -> tuple[Tensor, ChunkState]:
        """Return the actions (B, A) of this step, and the state at the next.

        Args:
            state: as `init` or the step before gave it.
            chunk: (B, H, A) predicted now; only rows that `needs_chunk` take theirs. None if no row needs one.

        Raises:
            ValueError: if a row needs a chunk and there is none, or it has another shape.
        """
        needed = self.needs_chunk(state)
        if chunk is not None:
            state = self._push(state, chunk, needed)
        elif bool(needed.any()):
            rows = needed.nonzero().flatten().tolist()
            raise ValueError(f"ActionChunker: rows {rows} need a chunk at this step; ask the policy and pass it")
        usable = (state.age != NEVER) & (state.age < self.chunk_size)
        at = state.age.clamp(0, self.chunk_size - 1)[..., None, None]
        actions = state.chunks.take_along_dim(at, dim=2).squeeze(2)
        weight = self._weights(usable)
        action = torch.where(usable[..., None], actions, 0.0).mul(weight[..., None]).sum(dim=1)
        return action, replace(state, age=torch.where(usable, state.age + 1, NEVER))

    def reset(self, state: ChunkState, rows: Tensor) -> ChunkState:
        """Return the same state with the rows where `rows` (B,) bool is True as new."""
        chunks = torch.where(rows[:, None, None, None], 0.0, state.chunks)
        return ChunkState(chunks, torch.where(rows[:, None], NEVER, state.age))

    def _push(self, state: ChunkState, chunk: Tensor, rows: Tensor) -> ChunkState:
        """The chunk before those of `rows` (B,), of which the oldest falls out."""
        expected = (len(rows), *state.chunks.shape[2:])
        if chunk.shape != expected:
            raise ValueError(f"ActionChunker: chunk {tuple(chunk.shape)} must be {expected}, (B, chunk_size, A)")
        chunks = torch.cat([chunk[:, None].to(state.chunks), state.chunks[:, :-1]], dim=1)
        age = torch.cat([torch.zeros_like(state.age[:, :1]), state.age[:, :-1]], dim=1)
        return ChunkState(
            torch.where(rows[:, None, None, None], chunks, state.chunks), torch.where(rows[:, None], age, state.age)
        )

    def _weights(self, usable: Tensor) -> Tensor:
        """Weights (B, N) of the usable chunks, newest first, that add up to 1."""
        older = usable.long().flip(1).cumsum(dim=1).flip(1) - 1
        decay = 0.0 if self.ensemble_decay is None else self.ensemble_decay
        weight = torch.where(usable, torch.exp(-decay * older.float()), 0.0)
        return weight / weight.sum(dim=1, keepdim=True)


class ChunkPlayer:
    """An `ActionChunker` that keeps its state: `needs_chunk`, `step` and `reset` as methods of an object.

    Args:
        chunker: the chunker that defines how chunks are played.
        batch_size: rows.
        action_dim: dimensions A of an action.
        device: where the actions are.
    """

    def __init__(
        self, chunker: ActionChunker, batch_size: int, action_dim: int, device: torch.device | str = "cpu"
    ) -> None:
        self.chunker = chunker
        self.state = chunker.init(batch_size, action_dim, device)

    @property
    def needs_chunk(self) -> Tensor:
        """(B,) True for rows that want a chunk with the next step."""
        return self.chunker.needs_chunk(self.state)

    def step(self, chunk: Tensor | None = None) -> Tensor:
        """Return the actions (B, A) of this step; see `ActionChunker.step`."""
        action, self.state = self.chunker.step(self.state, chunk)
        return action

    def reset(self, rows: Tensor | None = None) -> None:
        """Forget the chunks of the rows where `rows` (B,) bool is True; None: of all."""
        if rows is None:
            rows = torch.ones_like(self.needs_chunk)
        self.state = self.chunker.reset(self.state, rows)
