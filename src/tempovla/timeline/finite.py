"""Checks that observations and actions are finite: a NaN must never become a motion."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_AXES = 3
"""Of values (B, T, D): of pictures, which have more, those of distances may hold NaN, which is no reading."""


def check_finite(key: str, value: Tensor, valid: Tensor | None = None) -> None:
    """Refuse vectors of a stream that are not finite.

    Args:
        key: name of the stream, for the message.
        value: (B, D), or (B, T, D) or (B, T) with `valid`; other shapes are not checked.
        valid: (B, T); invalid entries may have any value.

    Raises:
        ValueError: naming row and dimension of the first one.
    """
    if value.dim() > MOST_AXES or not value.is_floating_point():
        return
    broken = ~value.isfinite()
    if valid is not None:
        broken = (broken[..., None] if value.dim() == valid.dim() else broken) & valid[..., None]
    if bool(broken.any()):
        row, *_, dimension = broken.nonzero()[0].tolist()
        found = value[row].reshape(-1)[int(broken[row].reshape(-1).nonzero()[0])]
        raise ValueError(
            f"row {row} has {found:g} in dimension {dimension} of {key!r}; give finite numbers, or end the episode "
            "when a sensor fails"
        )


def check_actions(actions: Tensor, where: str, dtype: torch.dtype | None = None) -> None:
    """Refuse actions that are not finite before they reach a motor.

    Args:
        actions: (B, H, A), as a policy returns them.
        where: names the policy in the message, such as its folder.
        dtype: of the policy's weights, if it is known.

    Raises:
        ValueError: naming row, step and dimension of the first one.
    """
    broken = ~actions.isfinite()
    if bool(broken.any()):
        row, step, dimension = broken.nonzero()[0].tolist()
        remedy = "give an earlier checkpoint of its training"
        if dtype == torch.float16:
            remedy = "it computes in float16, which holds no number above 65504: use float32"
        raise ValueError(
            f"{where}: gives {actions[row, step, dimension]:g} in dimension {dimension} at step {step} of the chunk of "
            f"row {row}, which is not a motion; {remedy}"
        )
