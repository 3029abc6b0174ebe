"""Checks that observations and actions are finite: a NaN must never become a motion."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from tempovla.timeline.track import Track

ABSURD = 1e9
"""A reading beyond this is of no sensor, and an action of no motor, in any unit that a stream has."""
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


def check_actions(
    actions: Tensor, where: str, dtype: torch.dtype | None = None, seen: Iterable[tuple[str, Track]] = ()
) -> None:
    """Refuse actions that are not finite, or beyond `ABSURD`, before they reach a motor.

    Args:
        actions: (B, H, A), as a policy returns them, in the robot's units.
        where: names the policy in the message, such as its folder.
        dtype: of the policy's weights, if it is known.
        seen: streams and what the policy saw of each, among which the cause is looked for.

    Raises:
        ValueError: naming row, step and dimension of the first one.
    """
    broken = ~(actions.float().abs() <= ABSURD)  # in float16, 1e9 is infinite
    if bool(broken.any()):
        row, step, dimension = broken.nonzero()[0].tolist()
        remedy = "give an earlier checkpoint of its training"
        absurd = absurd_reading(seen, row)
        if absurd is not None:
            remedy = f"the observation has {absurd[1]:g} in {absurd[0]!r}, which no sensor measures: mend that stream"
        elif dtype == torch.float16:
            remedy = "it computes in float16, which holds no number above 65504: use float32"
        raise ValueError(
            f"{where}: gives {actions[row, step, dimension]:g} in dimension {dimension} at step {step} of the chunk of "
            f"row {row}, which is not a motion; {remedy}"
        )


def absurd_reading(seen: Iterable[tuple[str, Track]], row: int) -> tuple[str, float] | None:
    """Return the stream of a row whose largest valid number is beyond `ABSURD`, and that number; None without one.

    Args:
        seen: streams and what a policy saw of each.
        row: of the batch.
    """
    found: tuple[str, float] | None = None
    for key, track in seen:
        value, valid = track.value[row], track.valid[row]
        if not value.is_floating_point() or not bool(valid.any()):
            continue
        numbers = value[valid].flatten()
        numbers = numbers[numbers.isfinite()]
        largest = float(numbers[numbers.abs().argmax()]) if numbers.numel() else 0.0
        if abs(largest) > max(ABSURD, 0.0 if found is None else abs(found[1])):
            found = key, largest
    return found
