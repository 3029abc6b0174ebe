"""Leaving out whole modalities in training, so that a policy copes with sensors that fail."""

from __future__ import annotations

from torch import Tensor

from tempovla.timeline.noise import row_uniform

_STREAM = 0x40DA
"""Draws of modality dropout are independent of all others of a row."""


def keep_modalities(present: Tensor, rate: float, seed: Tensor) -> Tensor:
    """Return which modalities (B, M) bool are kept, as a pure function of the rows' seeds.

    Each modality that is present is dropped with probability `rate`. Where all that are present would be, the one that
    was drawn to stay the longest stays.

    Args:
        present: (B, M) bool, which modalities a row has.
        rate: probability from 0 to below 1.
        seed: (B,) int64.
    """
    draw = row_uniform(seed, (present.shape[1],), stream=_STREAM).masked_fill(~present, -1.0)
    kept = present & (draw >= rate)
    best = draw >= draw.amax(dim=1, keepdim=True)
    return kept | (present & best & ~kept.any(dim=1, keepdim=True))


def drop_modalities(present: Tensor, rate: float, seed: Tensor | None) -> Tensor:
    """Return which modalities (B, M) bool are kept; all that are present with a rate of 0.

    Args:
        present: (B, M) bool, which modalities a row has.
        rate: probability from 0 to below 1; a caller that does not train gives 0.
        seed: (B,) int64, needed with a rate above 0.

    Raises:
        ValueError: if seeds are needed and not given.
    """
    if rate == 0:
        return present
    if seed is None:
        raise ValueError(f"modality_dropout={rate} in training needs `seed` (B,) int64, such as that of the sample")
    return keep_modalities(present, rate, seed)


def checked_rate(rate: float) -> float:
    """Return a rate of modality dropout.

    Raises:
        ValueError: if it is none.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"modality_dropout={rate} must be at least 0 and below 1")
    return rate
