"""Explicit states of a batch of rows: environments, clients or windows, each of which begins anew at its own time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def map_tensors(change: Callable[..., Tensor], value: T, *others: T) -> T:
    """Return a value of nested dataclasses and tuples with every tensor changed.

    Args:
        change: takes a tensor of `value`, and those in the same place of `others`.
        value: a tensor, a tuple or a dataclass; everything in a dataclass is one of these again.
        others: values of the same structure.
    """
    if isinstance(value, Tensor):
        return change(value, *others)  # type: ignore[return-value]
    if isinstance(value, tuple):
        return tuple(map_tensors(change, *parts) for parts in zip(value, *others, strict=True))  # type: ignore[return-value]
    fields = [field.name for field in dataclasses.fields(value)]  # type: ignore[arg-type]
    parts = {name: [getattr(each, name) for each in (value, *others)] for name in fields}
    return type(value)(**{name: map_tensors(change, *part) for name, part in parts.items()})


def zero_rows(x: Tensor, rows: Tensor) -> Tensor:
    """`x` (B, ...) with zeros in the rows where `rows` (B,) bool is True."""
    rows = rows.view(-1, *[1] * (x.ndim - 1))
    return x & ~rows if x.dtype == torch.bool else x.masked_fill(rows, 0)  # onnxruntime fills no bools


def choose_rows(rows: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Return rows (B, ...) of `new` where `rows` (B,) bool is True, of `old` elsewhere."""
    return torch.where(rows.view(-1, *[1] * (new.ndim - 1)), new, old)


class RowState:
    """Base of the frozen dataclasses that hold all that a module remembers.

    Fields are tensors, states, or tuples of these. The rows of a batch come first in every tensor, and a row that has
    seen nothing is all zeros. States are values: a step makes a new one, the old one stays.
    """

    @property
    def batch_size(self) -> int:
        """Number of rows B."""
        return _first_tensor(self).shape[0]

    def reset(self, rows: Tensor) -> Self:
        """Return the state with the rows where `rows` (B,) bool is True as new.

        Raises:
            ValueError: if `rows` is no bool for each row.
        """
        if not isinstance(rows, Tensor):
            raise ValueError(f"rows are a {type(rows).__name__}; give a tensor ({self.batch_size},) of bools")
        if rows.dtype != torch.bool or rows.shape != (self.batch_size,):
            raise ValueError(
                f"rows {tuple(rows.shape)} of {rows.dtype} must be ({self.batch_size},) bool, True for a new start"
            )
        return map_tensors(lambda x: zero_rows(x, rows.to(x.device)), self)

    def gather(self, rows: Tensor) -> Self:
        """Return the state of some rows, which `rows` (R,) int64 names in their order."""
        return map_tensors(lambda x: x[rows.to(x.device)], self)

    def scatter(self, rows: Tensor, state: Self) -> Self:
        """Return the state with the rows that `rows` (R,) int64 names replaced by the R rows of another one."""
        return map_tensors(lambda x, new: x.index_copy(0, rows.to(x.device), new.to(x)), self, state)

    def snapshot(self) -> Self:
        """Return a copy that shares nothing with this state, without its past for gradients."""
        return map_tensors(lambda x: x.detach().clone(), self)

    def detach(self) -> Self:
        """Return the same state without its past for gradients (truncated backpropagation through time)."""
        return map_tensors(torch.Tensor.detach, self)

    def to(self, device: torch.device | str) -> Self:
        """Return the same state on another device."""
        return map_tensors(lambda x: x.to(device), self)


def _first_tensor(value: Any) -> Tensor:
    """The first tensor of a state, which has one; a tuple may be empty."""
    found = _find_tensor(value)
    assert found is not None, f"{type(value).__name__} holds no tensor"
    return found


def _find_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    inner = value if isinstance(value, tuple) else (getattr(value, field.name) for field in dataclasses.fields(value))
    return next((found for part in inner if (found := _find_tensor(part)) is not None), None)
