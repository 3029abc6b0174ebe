"""A run that has diverged: what is no longer a finite number is named, and the last good checkpoint is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

LARGEST = 1e30
"""Weights, averages and an optimiser's moments beyond this have exploded: their squares are infinite in float32."""
_PARTS = {"weights": "weight", "average": "averaged weight", "optimizer": "optimiser statistic"}


class DivergedError(ValueError):
    """Training has left the finite numbers; what was saved before is intact.

    Attributes:
        exit_code: of the command that trains.
    """

    exit_code = 3


class NonFiniteLossError(DivergedError):
    """A loss, a figure beside it, or the gradient is NaN or infinite."""


def non_finite_figure(figures: Mapping[str, float]) -> str | None:
    """Which figure of a step is not finite, in words; None if all are.

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
    """Which tensor holds numbers that are not finite, or beyond `LARGEST`, in words; None if none does.

    Args:
        tensors: by `<part>/<name>`, as in a checkpoint.
    """
    floating = {name: value.detach() for name, value in tensors.items() if value.is_floating_point() and value.numel()}
    by_kind: dict[tuple[torch.device, torch.dtype], list[str]] = {}
    for name, value in floating.items():
        by_kind.setdefault((value.device, value.dtype), []).append(name)
    for names in by_kind.values():  # one transfer from the device for each kind
        ends = [torch.stack(torch.aminmax(floating[name])) for name in names]  # NaN is passed on
        largest = torch.stack(ends).float().abs().amax(dim=1).tolist()
        for name, value in zip(names, largest, strict=True):
            if not value <= LARGEST:
                part, _, own = name.partition("/")
                what = "holds values that are not finite" if not math.isfinite(value) else f"has grown to {value:.3g}"
                return f"{_PARTS.get(part, part)} {own!r} {what}"
    return None
