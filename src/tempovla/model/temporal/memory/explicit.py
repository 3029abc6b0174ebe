"""What the differentiable memories share: pure functions of an explicit state.

A memory's own class defines how rows are written and read. From that follow here `write_to(state, content)`,
`read_from(state, query)`, and running over sequences: a step is a write, then a read with the same input. A class may
replace `_sequence` by a version that computes all steps at once. The calls on a state that the memory holds itself are
in `object_style`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from torch import Tensor, nn

from tempovla.model.layers.row_state import RowState, zero_rows
from tempovla.model.temporal.object_style import MemoryObject, reshaped

S = TypeVar("S", bound=RowState)
R = TypeVar("R")


def take_vectors(x: Tensor, index: Tensor) -> Tensor:
    """Return the vectors (B, M, D) of x (B, N, D) at the places `index` (B, M) of each row."""
    starts = torch.arange(x.shape[0], device=x.device)[:, None] * x.shape[1]
    return x.flatten(0, 1).index_select(0, (starts + index).flatten()).unflatten(0, index.shape)


class ExplicitMemory(MemoryObject[S, R], nn.Module, ABC):
    """A memory of vectors of `hidden_dim` features; `R` is what a read gives.

    Attributes:
        hidden_dim: features of contents, queries and reads.
    """

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim

    @abstractmethod
    def initial_state(self, batch: int) -> S:
        """Return the state of `batch` rows that have seen nothing."""

    @abstractmethod
    def _write(self, state: S, content: Tensor, valid: Tensor) -> S:
        """Return the state after content (B, H) in the rows where `valid` (B,) is True; other rows of it are zero."""

    @abstractmethod
    def _read(self, state: S, query: Tensor) -> R:
        """Return what queries (B, Q, H) find, as tensors (B, Q, H)."""

    def _output(self, read: R) -> Tensor:
        """Return the tensor of a read that `forward` returns."""
        assert isinstance(read, Tensor)
        return read

    def write_to(self, state: S, content: Tensor, valid: Tensor | None = None) -> S:
        """Return the state after a write.

        Args:
            state: the state before.
            content: (B, hidden_dim), one vector for each row.
            valid: (B,) bool, None means all. Other rows neither write nor change, whatever their values.

        Raises:
            ValueError: if shapes do not fit the memory.
        """
        if content.ndim != 2 or content.shape[1] != self.hidden_dim:
            raise ValueError(
                f"content has shape {tuple(content.shape)}; give (batch, hidden_dim), or (hidden_dim,) to an object, "
                f"with hidden_dim={self.hidden_dim}"
            )
        content = content.to(next(self.parameters()).dtype)
        batch = state.batch_size
        if content.shape[0] != batch:
            raise ValueError(
                f"content has {len(content)} rows, the memory {batch}; give one row for each, or reset the memory first"
            )
        if valid is None:
            valid = torch.ones(batch, dtype=torch.bool, device=content.device)
        elif valid.shape != (batch,) or valid.dtype != torch.bool:
            raise ValueError(
                f"valid has shape {tuple(valid.shape)} and {valid.dtype}; give a bool for each row ({batch},)"
            )
        with torch.autocast(content.device.type, enabled=False):  # what is remembered keeps full precision
            return self._write(state, zero_rows(content, ~valid), valid)

    def read_from(self, state: S, query: Tensor) -> R:
        """Return what a state holds for queries. Reading changes nothing.

        Args:
            state: what to read.
            query: (B, hidden_dim), or (B, Q, hidden_dim) for several queries a row.

        Returns:
            Tensors like `query`. An empty memory returns what it learned for this case, never NaN.

        Raises:
            ValueError: if shapes do not fit the memory.
        """
        batch = state.batch_size
        if query.ndim not in (2, 3) or query.shape[-1] != self.hidden_dim or query.shape[0] != batch:
            raise ValueError(
                f"query has shape {tuple(query.shape)}; this memory of {batch} rows takes ({batch}, {self.hidden_dim}) "
                f"or ({batch}, queries, {self.hidden_dim})"
            )
        asked = query.to(next(self.parameters()).dtype)
        with torch.autocast(query.device.type, enabled=False):
            read = self._read(state, asked.reshape(batch, -1, self.hidden_dim))
        return reshaped(read, tuple(query.shape))

    def forward(self, x: Tensor, state: S | None = None, valid: Tensor | None = None) -> tuple[Tensor, S]:
        """Run over a sequence: write each step, then read with it.

        Args:
            x: (B, T, hidden_dim).
            state: what came before; None means nothing.
            valid: (B, T) bool, None means all. Invalid steps are skipped, whatever their values.

        Returns:
            Outputs like `x`, zero where invalid, and the state after the last step.

        Raises:
            ValueError: if shapes do not fit the memory.
        """
        state = self.initial_state(x.shape[0]) if state is None else state
        self._check_sequence(x, state, valid)
        if x.shape[1] == 1:
            output, state = self.step(x[:, 0], state, None if valid is None else valid[:, 0])
            return output[:, None], state
        x = x.to(next(self.parameters()).dtype)
        with torch.autocast(x.device.type, enabled=False):
            if valid is None:
                return self._sequence(state, x, None)
            order = (~valid).to(torch.uint8).argsort(dim=1, stable=True)
            first = take_vectors(x.masked_fill(~valid[..., None], 0), order)
            outputs, state = self._sequence(state, first, valid.sum(1))
            place = (valid.cumsum(1) - 1).clamp(min=0)
            return take_vectors(outputs, place).masked_fill(~valid[..., None], 0), state

    def _sequence(self, state: S, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, S]:
        """Outputs of steps x (B, T, H), finite, of which the first `lengths` (B,) are valid, and the state after these.

        None means that all are. Outputs of the others are not looked at.
        """
        outputs = []
        for index in range(x.shape[1]):
            output, state = self.step(x[:, index], state, None if lengths is None else index < lengths)
            outputs.append(output)
        return torch.stack(outputs, dim=1), state

    def step(self, x: Tensor, state: S, valid: Tensor | None = None) -> tuple[Tensor, S]:
        """Run one step of `forward`: x (B, hidden_dim), valid (B,) bool or None."""
        if valid is not None:
            x = zero_rows(x, ~valid)
        state = self.write_to(state, x, valid)
        output = self._output(self.read_from(state, x))
        return output if valid is None else zero_rows(output, ~valid), state

    def _check_sequence(self, x: Tensor, state: S, valid: Tensor | None) -> None:
        batch = state.batch_size
        if x.ndim != 3 or x.shape[0] != batch or x.shape[1] == 0 or x.shape[2] != self.hidden_dim:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; a sequence for this memory of {batch} rows is ({batch}, steps, "
                f"{self.hidden_dim}), of one step at least"
            )
        steps = tuple(x.shape[:2])
        if valid is not None and (valid.shape != steps or valid.dtype != torch.bool):
            raise ValueError(
                f"valid has shape {tuple(valid.shape)} and {valid.dtype}; give a bool for each step {steps}"
            )
