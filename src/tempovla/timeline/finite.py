"""What a policy sees must be finite: a NaN that comes in would go out as a motion."""

from __future__ import annotations

from torch import Tensor

MOST_AXES = 3
"""Of values (B, T, D): of pictures, which have more, those of distances may hold NaN, which is no reading."""


def check_finite(key: str, value: Tensor, valid: Tensor | None = None) -> None:
    """Refuse vectors of a stream that are not finite.

    Args:
        key: name of the stream, for the message.
        value: (B, D), or (B, T, D) or (B, T) with `valid`; of other shapes nothing is said.
        valid: (B, T); what is not valid may be anything.

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
