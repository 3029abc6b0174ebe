"""What the differentiable memories share: pure functions of an explicit state, and an object that holds one.

A memory's own class says how rows are written and read. From that follow here the pure calls (`write(state, content)`),
the calls on a held state (`write(content)`), and running over sequences: a step is a write, then a read with the same
input. A class may replace `_sequence` by what gives the same for all steps at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, Protocol, Self, TypeVar, overload

import torch
from torch import Tensor, nn


class MemoryState(Protocol):
    """All that a memory remembers, batch first."""

    def reset(self, rows: Tensor) -> Self:
        """The state with the rows where `rows` (B,) bool is True as new."""


S = TypeVar("S", bound=MemoryState)
R = TypeVar("R")


def zero_rows(x: Tensor, rows: Tensor) -> Tensor:
    """`x` (B, ...) with zeros in the rows where `rows` (B,) bool is True."""
    return x.masked_fill(rows.view(-1, *[1] * (x.ndim - 1)), 0)


def choose_rows(rows: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Rows (B, ...) of `new` where `rows` (B,) bool is True, of `old` elsewhere."""
    return torch.where(rows.view(-1, *[1] * (new.ndim - 1)), new, old)


def take_vectors(x: Tensor, index: Tensor) -> Tensor:
    """The vectors (B, M, D) of x (B, N, D) at the places `index` (B, M) of each row."""
    starts = torch.arange(len(x), device=x.device)[:, None] * x.shape[1]
    return x.flatten(0, 1).index_select(0, (starts + index).flatten()).unflatten(0, index.shape)


class ExplicitMemory(nn.Module, ABC, Generic[S, R]):
    """A memory of vectors of `hidden_dim` features; `R` is what a read gives.

    Under autograd a held state keeps the graph of all writes: call `detach` where gradients shall end.

    Attributes:
        hidden_dim: features of contents, queries and reads.
        held: the state that the object's own calls use; None until something is written.
    """

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.held: S | None = None

    @abstractmethod
    def initial_state(self, batch: int) -> S:
        """The state of `batch` rows that have seen nothing."""

    @abstractmethod
    def _write(self, state: S, content: Tensor, valid: Tensor) -> S:
        """The state after content (B, H), in the rows where `valid` (B,) is True; what is not valid is zero."""

    @abstractmethod
    def _read(self, state: S, query: Tensor) -> R:
        """What queries (B, Q, H) find: tensors (B, Q, H)."""

    @abstractmethod
    def _output(self, read: R) -> Tensor:
        """The tensor that `forward` gives, of a read."""

    @abstractmethod
    def _map(self, read: R, shape: tuple[int, ...]) -> R:
        """A read with its tensors reshaped."""

    @overload
    def write(self, content: Tensor, /, *, valid: Tensor | None = None) -> None: ...
    @overload
    def write(self, state: S, content: Tensor, /, valid: Tensor | None = None) -> S: ...
    def write(self, state: Any, content: Tensor | None = None, /, valid: Tensor | None = None) -> S | None:
        """Write; with a state a pure function, without one on the held state.

        Args:
            state: what came before; leave it out to write to the held state.
            content: (B, hidden_dim), one vector for each row; on the held state also (hidden_dim,): one memory.
            valid: (B,) bool, None means all. Other rows neither write nor change, whatever their values.

        Returns:
            The state afterwards; nothing for the held state.

        Raises:
            ValueError: if shapes do not fit the memory.
        """
        if content is not None:
            return self._write_valid(state, content, valid)
        content = self._rows("content", state)
        if self.held is None:
            self.held = self.initial_state(len(content))
        self.held = self._write_valid(self.held, content, valid)
        return None

    @overload
    def read(self, query: Tensor, /) -> R: ...
    @overload
    def read(self, state: S, query: Tensor, /) -> R: ...
    def read(self, state: Any, query: Tensor | None = None, /) -> R:
        """Read; with a state a pure function, without one from the held state. Reading changes nothing.

        Args:
            state: what to read; leave it out to read the held state.
            query: (B, hidden_dim), or (B, Q, hidden_dim) for several queries a row. From a held state of one row also
                (hidden_dim,) and (N, hidden_dim): all N ask the one memory.

        Returns:
            Tensors like `query`. An empty memory gives what it learned to give for that, never NaN.

        Raises:
            ValueError: if shapes do not fit the memory.
        """
        if query is not None:
            return self._read_rows(state, query)
        query = state
        held = self.initial_state(1) if self.held is None else self.held
        if batch_of(held) == 1 and query.ndim < 3:
            return self._map(self._read_rows(held, query.reshape(1, -1, query.shape[-1])), tuple(query.shape))
        return self._read_rows(held, query)

    def reset(self, *, rows: Tensor | None = None) -> None:
        """Forget the held state; with `rows` (B,) bool, only these rows of it."""
        self.held = None if rows is None or self.held is None else self.held.reset(rows)

    def detach(self) -> None:
        """Cut the held state from the graph that made it."""
        if self.held is not None:
            self.held = type(self.held)(**{name: value.detach() for name, value in vars(self.held).items()})

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
        state = self.initial_state(len(x)) if state is None else state
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
        """One step of `forward`: x (B, hidden_dim), valid (B,) bool or None."""
        if valid is not None:
            x = zero_rows(x, ~valid)
        state = self._write_valid(state, x, valid)
        output = self._output(self._read_rows(state, x))
        return output if valid is None else zero_rows(output, ~valid), state

    def _check_sequence(self, x: Tensor, state: S, valid: Tensor | None) -> None:
        batch = batch_of(state)
        if x.ndim != 3 or len(x) != batch or x.shape[1] == 0 or x.shape[2] != self.hidden_dim:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; a sequence for this memory of {batch} rows is ({batch}, steps, "
                f"{self.hidden_dim}), of one step at least"
            )
        steps = tuple(x.shape[:2])
        if valid is not None and (valid.shape != steps or valid.dtype != torch.bool):
            raise ValueError(
                f"valid has shape {tuple(valid.shape)} and {valid.dtype}; give a bool for each step {steps}"
            )

    def _rows(self, name: str, x: Tensor) -> Tensor:
        """(B, hidden_dim) in the dtype of the weights."""
        x = x.unsqueeze(0) if x.ndim == 1 else x
        if x.ndim != 2 or x.shape[1] != self.hidden_dim:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}; give (hidden_dim,) or (batch, hidden_dim) with "
                f"hidden_dim={self.hidden_dim}"
            )
        return x.to(next(self.parameters()).dtype)

    def _write_valid(self, state: S, content: Tensor, valid: Tensor | None) -> S:
        content = self._rows("content", content)
        batch = batch_of(state)
        if len(content) != batch:
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

    def _read_rows(self, state: S, query: Tensor) -> R:
        batch = batch_of(state)
        if query.ndim not in (2, 3) or query.shape[-1] != self.hidden_dim or len(query) != batch:
            raise ValueError(
                f"query has shape {tuple(query.shape)}; this memory of {batch} rows takes ({batch}, {self.hidden_dim}) "
                f"or ({batch}, queries, {self.hidden_dim})"
            )
        asked = query.to(next(self.parameters()).dtype)
        with torch.autocast(query.device.type, enabled=False):
            read = self._read(state, asked.reshape(batch, -1, self.hidden_dim))
        return self._map(read, tuple(query.shape))


def batch_of(state: MemoryState) -> int:
    """Rows of a state."""
    return len(next(iter(vars(state).values())))
