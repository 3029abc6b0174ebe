"""States of policies, row by row, whatever they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

S = TypeVar("S")


def take_rows(chosen: Tensor, after: S, before: S) -> S:
    """Return the state `after` in the rows where `chosen` (B,) bool is True, and the state `before` in the others.

    States are nested dataclasses, mappings, tuples and lists of tensors with the rows first. What is no tensor belongs
    to the policy as a whole and is taken from `after`.

    Raises:
        ValueError: if a tensor does not have as many rows.
    """
    result: Any
    old: Any = before
    if isinstance(after, Tensor):
        if after.shape[:1] != chosen.shape or after.shape != old.shape:
            raise ValueError(
                f"a state's tensor is {tuple(after.shape)} and was {tuple(old.shape)}; both must have the "
                f"{len(chosen)} rows first, so that rows can be reset by themselves"
            )
        result = torch.where(chosen.to(after.device).view(-1, *[1] * (after.dim() - 1)), after, old)
    elif is_dataclass(after) and not isinstance(after, type):
        names = [field.name for field in fields(after) if field.init]
        result = replace(after, **{name: take_rows(chosen, getattr(after, name), getattr(old, name)) for name in names})
    elif isinstance(after, Mapping):
        result = {key: take_rows(chosen, value, old[key]) for key, value in after.items()}
    elif isinstance(after, tuple | list):
        parts = [take_rows(chosen, new, was) for new, was in zip(after, old, strict=True)]
        result = type(after)(*parts) if hasattr(after, "_fields") else type(after)(parts)
    else:
        result = after
    return result
