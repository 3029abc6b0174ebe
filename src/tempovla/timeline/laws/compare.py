"""Comparison of nested values leaf by leaf."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Difference:
    """The most different entry of one leaf.

    Attributes:
        where: path to the entry, e.g. ``now['observation.state'].value[0, 2]``.
        amount: absolute difference; infinite between NaN and a number, and where kinds or shapes differ.
        scale: largest magnitude among the expected values, at least 1; tolerances are relative to it.
        detail: expected against actual, in words.
    """

    where: str
    amount: float
    scale: float
    detail: str

    def exceeds(self, tolerance: float) -> bool:
        """Return whether it is more than `tolerance` times the scale; at 0, any difference is."""
        return self.amount > tolerance * self.scale

    def __str__(self) -> str:
        return f"{self.where or 'value'}: {self.detail} (difference {self.amount:.3g})"


def largest_difference(expected: object, actual: object) -> Difference | None:
    """Return the largest difference, relative to its leaf's scale; None if both are equal bit for bit (NaN equals NaN).

    Compares tensors, arrays, numbers, strings, None, and dataclasses, mappings and sequences of these.
    """
    left, right = dict(leaves(expected)), dict(leaves(actual))
    if left.keys() != right.keys():
        return _mismatch("", f"leaves {sorted(left)}", f"{sorted(right)}")
    found = (_leaf_difference(left[where], right[where], where) for where in left)
    return max(filter(None, found), key=lambda difference: difference.amount / difference.scale, default=None)


def not_finite(value: object) -> str | None:
    """Return the path to the first leaf that holds NaN or infinity, or None."""
    for where, leaf in leaves(value):
        if _is_numeric(leaf) and not bool(torch.as_tensor(leaf).isfinite().all()):
            return where
    return None


def leaves(value: object, where: str = "") -> Iterator[tuple[str, object]]:
    """Yield the path and content of every leaf, depth first."""
    if isinstance(value, Mapping):
        children = {f"{where}[{key!r}]": item for key, item in value.items()}
    elif is_dataclass(value) and not isinstance(value, type):
        children = {f"{where}.{field.name}".removeprefix("."): getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        children = {f"{where}[{index}]": item for index, item in enumerate(value)}
    else:
        yield where, value
        return
    for path, item in children.items():
        yield from leaves(item, path)


def _is_numeric(leaf: object) -> bool:
    return isinstance(leaf, Tensor | np.ndarray | np.generic | int | float)


def _mismatch(where: str, expected: str, actual: str) -> Difference:
    return Difference(where, math.inf, 1.0, f"expected {expected[:300]}, got {actual[:300]}")


def _leaf_difference(expected: object, actual: object, where: str) -> Difference | None:
    if not (_is_numeric(expected) and _is_numeric(actual)):
        # Leaves of other kinds (names, None) are equal or not.
        return None if expected is actual or expected == actual else _mismatch(where, repr(expected), repr(actual))
    left, right = (torch.as_tensor(value).detach().cpu() for value in (expected, actual))
    if left.shape != right.shape or left.dtype != right.dtype:
        return _mismatch(where, f"{tuple(left.shape)} {left.dtype}", f"{tuple(right.shape)} {right.dtype}")
    same = (left == right) | (left.isnan() & right.isnan())
    if bool(same.all()):
        return None
    apart = (left.double() - right.double()).abs().nan_to_num(nan=math.inf, posinf=math.inf)
    gap = torch.where(same, 0.0, apart.clamp(min=sys.float_info.min))  # large integers differ by less than rounding
    worst = int(gap.argmax())
    index = [int(i) for i in np.unravel_index(worst, tuple(left.shape))] if left.dim() else ""
    finite = left.double()[left.isfinite()]
    scale = max(1.0, float(finite.abs().max())) if len(finite) else 1.0
    detail = f"expected {left.flatten()[worst].item()!r}, got {right.flatten()[worst].item()!r}"
    return Difference(f"{where}{index}", float(gap.flatten()[worst]), scale, detail)
