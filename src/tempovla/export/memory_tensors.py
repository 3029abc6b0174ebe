"""What a policy remembers, as a flat list of tensors with names, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from tempovla.control.exported.memory import MemorySpec
from tempovla.control.exported.signature import TensorSpec
from tempovla.model.layers.row_state import map_tensors
from tempovla.model.temporal.context import ContextState

STATE = "state"
"""What all names begin with, such as `state.temporal.hidden`."""


def memory_specs(policy: Any) -> tuple[MemorySpec, ...]:
    """Return the tensors that a decision of a policy hands to the next.

    Raises:
        ValueError: naming the part whose memory does not begin with one number everywhere.
    """
    specs = []
    for name, tensor in named_tensors(policy, policy.context.initial_state(1)):
        initial = tensor.flatten()[0].item() if tensor.numel() else 0
        if not bool((tensor == initial).all()):
            raise ValueError(
                f"{name} of the context cannot be exported: its values are not all equal at the start of an episode"
            )
        dtype = str(tensor.dtype).removeprefix("torch.")
        specs.append(MemorySpec(TensorSpec(name, tuple(tensor.shape[1:]), dtype), _plain(initial)))
    return tuple(specs)


def memory_state(like: ContextState, tensors: Sequence[Tensor]) -> ContextState:
    """Return the state, made as another one is, of these tensors in the order of `memory_specs`."""
    given = iter(tensors)
    return map_tensors(lambda _: next(given), like)


def named_tensors(policy: Any, state: ContextState) -> list[tuple[str, Tensor]]:
    """Return the tensors of a state with their names."""
    parts = zip(policy.context.parts, state.parts, strict=True)
    return [pair for name, part in parts for pair in _named(f"{STATE}.{name}", part)]


def _named(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """In the order in which `map_tensors` goes through them."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _named(f"{name}.{index}", item)
    else:
        for field in dataclasses.fields(value):
            yield from _named(f"{name}.{field.name}", getattr(value, field.name))


def _plain(number: float) -> float:
    return int(number) if float(number).is_integer() else number
