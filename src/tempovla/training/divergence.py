"""Divergence of a run: the first value that is no longer finite is named, and the last good checkpoint is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from tempovla.timeline.tensors import largest_beyond

LARGEST = 1e30
"""Weights, averages and an optimiser's moments beyond this have exploded: their squares are infinite in float32."""
_PARTS = {"weights": "weight", "average": "averaged weight", "optimizer": "optimiser statistic"}


class DivergedError(ValueError):
    """Training has diverged: a value is no longer finite. Earlier checkpoints are intact.

    Attributes:
        exit_code: of the command that trains.
    """

    exit_code = 3


class NonFiniteLossError(DivergedError):
    """A loss, a figure beside it, or the gradient is NaN or infinite."""


def non_finite_figure(figures: Mapping[str, float]) -> str | None:
    """Return a phrase about the figure of a step that is not finite; None if all are finite.

    Where the total is one of several, a term is named rather than the total.

    Args:
        figures: `total` and terms, those of a validation with `val_` before their names, and `grad_norm`.
    """
    culprits = [name for name, value in figures.items() if not math.isfinite(value)]
    if not culprits:
        return None
    terms = [name for name in culprits if name not in ("total", "val_total", "grad_norm")]
    name = (terms or culprits)[-1]
    if name == "grad_norm":
        return f"the gradient norm is {figures[name]}, with a finite loss"
    kind = "validation loss" if name.startswith("val_") else "loss term"
    return f"{kind} {name!r} is {figures[name]}"


def exploded_tensor(tensors: Mapping[str, Tensor]) -> str | None:
    """Return a phrase about a tensor with numbers that are not finite or beyond `LARGEST`; None without one.

    Args:
        tensors: by `<part>/<name>`, as in a checkpoint.
    """
    found = largest_beyond(tensors, LARGEST)
    if found is None:
        return None
    (part, _, own), value = found[0].partition("/"), found[1]
    what = "holds values that are not finite" if not math.isfinite(value) else f"has grown to {value:.3g}"
    return f"{_PARTS.get(part, part)} {own!r} {what}"
