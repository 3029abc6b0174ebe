"""The object style: a module holds what it remembers, and its methods change that.

Everything here wraps pure functions of an explicit state, which are what policies use. An object serves one
environment, or one batch of them, at a time. What it holds is no part of its weights, and does not move with
`module.to(device)`.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from tempovla.model.layers.row_state import RowState
from tempovla.model.temporal.history.state import HistoryState

S = TypeVar("S", bound=RowState)
R = TypeVar("R")


def reshaped(read: R, shape: tuple[int, ...]) -> R:
    """Return a read, which is a tensor or several tensors by name, in another shape."""
    if isinstance(read, Tensor):
        return read.reshape(shape)  # type: ignore[return-value]
    assert isinstance(read, dict)
    return {name: value.reshape(shape) for name, value in read.items()}  # type: ignore[return-value]


class MemoryObject(Generic[S, R]):
    """The calls `write`, `read` and `reset` on a memory that holds its state.

    Under autograd a held state keeps the graph of all writes: call `detach` where gradients shall end.

    Attributes:
        held: the state; None until something is written.
    """

    held: S | None = None

    def initial_state(self, batch: int) -> S:
        """Return the state of `batch` rows that have seen nothing."""
        raise NotImplementedError

    def write_to(self, state: S, content: Tensor, valid: Tensor | None = None) -> S:
        """Return the state after a write; this is the pure function behind `write`."""
        raise NotImplementedError

    def read_from(self, state: S, query: Tensor) -> R:
        """Return what a state holds for queries; this is the pure function behind `read`."""
        raise NotImplementedError

    def write(self, content: Tensor, *, valid: Tensor | None = None) -> None:
        """Write to the held state, which begins with as many rows as the first content has.

        Args:
            content: (hidden_dim,) for one memory, or (B, hidden_dim).
            valid: (B,) bool, which rows write; None means all.

        Raises:
            ValueError: if shapes do not fit the memory.
        """
        rows = content.unsqueeze(0) if content.ndim == 1 else content
        before = self.initial_state(len(rows)) if self.held is None else self.held
        self.held = self.write_to(before, rows, valid)

    def update(self, new_state: Tensor, *, valid: Tensor | None = None) -> None:
        """Another name of `write`."""
        self.write(new_state, valid=valid)

    def read(self, query: Tensor) -> R:
        """Read the held state, which does not change.

        Args:
            query: (B, hidden_dim), or (B, Q, hidden_dim) for several queries a row. From a state of one row also
                (hidden_dim,) and (N, hidden_dim), where all N queries ask the one memory.

        Raises:
            ValueError: if shapes do not fit the memory.
        """
        held = self.initial_state(1) if self.held is None else self.held
        if held.batch_size == 1 and query.ndim < 3:
            return reshaped(self.read_from(held, query.reshape(1, -1, query.shape[-1])), tuple(query.shape))
        return self.read_from(held, query)

    def reset(self, *, rows: Tensor | None = None) -> None:
        """Forget the held state; with `rows` (B,) bool, only these rows of it."""
        self.held = None if rows is None or self.held is None else self.held.reset(rows)

    def detach(self) -> None:
        """Cut the held state from the graph that made it."""
        self.held = None if self.held is None else self.held.detach()


class GatedMemoryObject(MemoryObject[S, Tensor]):
    """A memory whose reads can be mixed with what is asked."""

    def mixed(self, current: Tensor, recalled: Tensor) -> Tensor:
        """Return the mixture of a query and what was read with it."""
        raise NotImplementedError

    def get_gated_update(self, current_state: Tensor) -> Tensor:
        """Mix the current state with what the held memory recalls of it. It takes the queries that `read` takes."""
        return self.mixed(current_state, self.read(current_state))


class TwoLevelMemoryObject(MemoryObject[S, R]):
    """A memory whose `reset` keeps its long-term memory unless asked otherwise."""

    def reset(self, reset_long_term: bool = False, *, rows: Tensor | None = None) -> None:
        """Forget the held short-term memory, and the long-term one if asked; with `rows` (B,) bool, only of these."""
        if self.held is not None:
            state: Any = self.held
            everything = torch.ones(state.batch_size, dtype=torch.bool, device=state.count.device)
            self.held = state.reset(everything if rows is None else rows, reset_long_term)


class HistoryRecorder:
    """Holds the `HistoryState` of one environment, whose steps are vectors, or of a batch of them.

    The first step decides which of the two; after `reset()` that is open again. Steps are kept without gradients.

    Args:
        history_length: steps H that are remembered.
        obs_dim: size of a state.
        action_dim: size of an action.
    """

    def __init__(self, history_length: int, obs_dim: int, action_dim: int) -> None:
        self._sizes = (history_length, obs_dim, action_dim)
        self.state: HistoryState | None = None

    def add(self, state: Any, action: Any) -> None:
        """Remember a step: state (obs_dim,) and action (action_dim,), or (B, obs_dim) and (B, action_dim).

        Raises:
            ValueError: if the sizes do not fit, or the number of rows changes without a reset.
        """
        pair = [torch.as_tensor(value, dtype=torch.float32).detach() for value in (state, action)]
        for name, value, size in zip(("state", "action"), pair, self._sizes[1:], strict=True):
            if value.dim() not in (1, 2) or value.shape[-1] != size or value.dim() != pair[0].dim():
                shapes = " and ".join(str(tuple(tensor.shape)) for tensor in pair)
                raise ValueError(
                    f"{name}: state and action {shapes} must both be of 1 or 2 dims, this one of {size} last"
                )
        rows = [value if value.dim() == 2 else value[None] for value in pair]
        before = self.state
        if before is None:
            before = HistoryState.init(len(rows[0]), *self._sizes, device=rows[0].device)
        if len(rows[0]) != len(before.valid):
            raise ValueError(
                f"a step of {len(rows[0])} rows does not follow a history of {len(before.valid)}; reset() it first"
            )
        self.state = before.push(*rows)

    def tensors(self, device: torch.device | str | None = None) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return states (B, T, obs_dim), actions (B, T, action_dim) and valid (B, T), or None if there is no step.

        T is the number of steps of the longest row.
        """
        longest = 0 if self.state is None else int(self.state.valid.sum(dim=1).max())
        if self.state is None or not longest:
            return None
        state = self.state if device is None else self.state.to(device)
        return state.states[:, -longest:], state.actions[:, -longest:], state.valid[:, -longest:]

    def reset(self, rows: Tensor | None = None) -> None:
        """Forget everything, or only the rows where `rows` (B,) bool is True."""
        if rows is None:
            self.state = None
        elif self.state is not None:
            self.state = self.state.reset(rows)


class HistoryObject(nn.Module):
    """The calls `add_transition`, `get_history` and `reset` on a history encoder that holds its history.

    Attributes:
        recorder: what is held.
    """

    recorder: HistoryRecorder

    def add_transition(self, state: Any, action: Any) -> None:
        """Remember a step of one environment, (obs_dim,) and (action_dim,), or of a batch, each (B, ...).

        Raises:
            ValueError: if the sizes do not fit, or the number of rows changes without a reset.
        """
        self.recorder.add(state, action)

    def get_history(
        self, device: torch.device | str | None = None, *, with_valid: bool = False
    ) -> tuple[Tensor, ...] | tuple[None, ...]:
        """Return what is remembered, as `forward` takes it: states (B, T, obs_dim) and actions (B, T, action_dim).

        For one environment B is 1. T is the number of steps of the longest row. All are None if there is no step.

        Args:
            device: where the tensors are needed.
            with_valid: also give valid (B, T), for rows of different lengths: after single ones were reset.

        Raises:
            ValueError: if rows have different lengths, and `with_valid` is False.
        """
        found = self.recorder.tensors(device)
        if found is None:
            return (None, None, None) if with_valid else (None, None)
        if not with_valid and not bool(found[2].all()):
            lengths = found[2].sum(dim=1).tolist()
            raise ValueError(f"rows remember {lengths} steps; ask get_history(with_valid=True) for which there are")
        return found if with_valid else found[:2]

    def reset(self, rows: Tensor | None = None) -> None:
        """Forget what `add_transition` remembered, or only the rows where `rows` (B,) bool is True."""
        self.recorder.reset(rows)


class HistoryPolicyObject(nn.Module):
    """The calls `update_history` and `reset_history` on a policy that holds the history of its encoder."""

    history_encoder: HistoryObject

    def update_history(self, state: Any, action: Any) -> None:
        """Remember the action (action_dim,) taken in a state (obs_dim,), or those of a batch, each (B, ...)."""
        self.history_encoder.add_transition(state, action)

    def reset_history(self, rows: Tensor | None = None) -> None:
        """Forget everything, or only the rows where `rows` (B,) bool is True: their episodes start anew."""
        self.history_encoder.reset(rows)
