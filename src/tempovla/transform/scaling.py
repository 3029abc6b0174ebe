"""Offset and scale of each dimension, so that it neither vanishes nor amplifies noise."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tempovla.timeline.keys import ACTION_KEY

NormalizationMode = Literal["mean_std", "min_max", "quantile"]

STATISTICS_OF_MODE: dict[str, tuple[str, str]] = {
    "mean_std": ("mean", "std"),
    "min_max": ("min", "max"),
    "quantile": ("q01", "q99"),
}
SPREAD_OF_MODE = {
    "mean_std": "standard deviation",
    "min_max": "half range",
    "quantile": "half range between the 1st and 99th percentile",
}
SMALLEST_SCALE = 1e-6
LARGEST_STATISTIC = 1e18
"""Beyond this nothing that was recorded lies, and squares in float32 are infinite."""
ROUNDING = 5e-4
"""Share of a value's magnitude by which a minimum may lie above the maximum: what is lost by computing in float32."""
_RECOMPUTE = "compute those of a dataset with `tempovla data stats ROOT --recompute`"
COARSE = 0.05
"""From which share of a dimension's spread on the steps of float32 are too coarse to tell its values apart."""


@dataclass(frozen=True)
class Scaling:
    """Normalisation of one stream.

    Attributes:
        offset: (D,) is subtracted first.
        scale: (D,) divides the difference.
        notes: a line for every dimension whose scale is not its spread, though it varies, or whose values float32
            hardly tells apart.
    """

    offset: NDArray[np.float64]
    scale: NDArray[np.float64]
    notes: tuple[str, ...]


def fit_scaling(
    key: str,
    statistics: Mapping[str, NDArray[np.float64]],
    mode: NormalizationMode,
    keep: Collection[int] = (),
    names: Sequence[str] = (),
) -> Scaling:
    """Return the offset and scale of one stream.

    A dimension that never varies (by more than float32 resolves) is only centred: its scale is 1, or a millionth of
    its magnitude where that is more. One that hardly varies, such as a joint that is held still, has a floor under its
    scale, as a control step in which it is elsewhere would be hundreds of deviations away. The floor is the larger of

    - a thousandth of its magnitude, but no more than a hundredth of the largest spread in the stream: this tells the
      noise of a joint at 1.57 rad from a coordinate that is large everywhere;
    - a thousandth of the stream's upper quartile of spreads, but no more than 0.001: noise around 0. Ranges of
      millimetres in metres, and actions that are small in all dimensions alike, keep their scale.

    A dimension that rests for all but 2% of the steps has equal percentiles; with `quantile` it is scaled by half the
    range of all its values.

    Args:
        key: the stream, for messages.
        statistics: by name, each (D,).
        mode: which of them give offset and scale.
        keep: dimensions left as they are.
        names: of the dimensions, for messages.

    Raises:
        ValueError: if a statistic is missing, not finite or one that no values have (a negative standard deviation, a
            minimum above the maximum), or `keep` names a dimension that there is not.
    """
    low, high = (_flat(key, statistics, name, mode) for name in STATISTICS_OF_MODE[mode])
    _refuse_impossible(key, mode, low, high)
    beyond = [dimension for dimension in keep if not 0 <= dimension < len(low)]
    if beyond:
        raise ValueError(f"stream {key!r} has {len(low)} dimensions, but keep names {beyond}; correct keep")
    centre, spread = (low, high) if mode == "mean_std" else ((low + high) / 2, (high - low) / 2)
    kept = np.isin(np.arange(len(centre)), list(keep))
    reach, magnitude = spread, np.abs(centre) + spread
    if {"min", "max"} <= set(statistics):
        ends = [_flat(key, statistics, name, mode) for name in ("min", "max")]
        is_recorded = np.all([np.abs(end) <= LARGEST_STATISTIC for end in ends], axis=0)
        least, most = (np.where(is_recorded, end, 0.0) for end in ends)  # ends that nothing has tell nothing
        reach = np.where(is_recorded, (most - least) / 2, reach)
        magnitude = np.where(is_recorded, np.maximum(np.abs(least), np.abs(most)), magnitude)
    smallest = SMALLEST_SCALE * np.maximum(1.0, np.abs(centre))
    constant = (reach < smallest) | ((spread < smallest) if mode != "quantile" else False)
    floor = _floor(spread, magnitude, ~constant & ~kept)
    flat = ~constant & ~kept & (spread < np.maximum(floor, smallest))
    scale = np.where(kept, 1.0, np.where(constant, np.maximum(1.0, smallest), np.where(flat, floor, spread)))
    if mode == "quantile":
        scale = np.where(flat, np.maximum(floor, reach), scale)
    notes = []
    for d in np.flatnonzero(flat).tolist():
        name = f" ({names[d]})" if d < len(names) else ""
        notes.append(
            f"stream {key!r} dimension {d}{name} hardly varies: its {SPREAD_OF_MODE[mode]} is {spread[d]:.3g} around "
            f"{centre[d]:.4g}; it is divided by {scale[d]:.3g} instead, so that its noise is not magnified"
        )
    step = np.spacing(magnitude.astype(np.float32)).astype(np.float64)
    coarse = ~kept & (reach > 0) & (spread > SMALLEST_SCALE) & (step > COARSE * spread)
    for d in np.flatnonzero(coarse).tolist():
        name = f" ({names[d]})" if d < len(names) else ""
        notes.append(
            f"stream {key!r} dimension {d}{name} varies by {spread[d]:.3g} around {centre[d]:.6g}, where the steps of "
            f"float32 are {step[d]:.3g}, so the policy learns little of it; leave it out with --data.{_option(key)}, "
            "or record it from another origin"
        )
    return Scaling(np.where(kept, 0.0, centre), scale, tuple(notes))


def _refuse_impossible(key: str, mode: NormalizationMode, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    """Refuse statistics that no values have, by stream and dimension."""
    names = STATISTICS_OF_MODE[mode]
    if low.shape != high.shape:
        raise ValueError(
            f"stream {key!r}: {names[0]} has {len(low)} dimensions and {names[1]} has {len(high)}; {_RECOMPUTE}"
        )
    slack = ROUNDING * np.maximum(np.abs(low), np.abs(high)) if mode != "mean_std" else 0.0
    checks = {
        f"{names[0]} is {{0:.6g}}, outside of all recorded values": np.abs(low) > LARGEST_STATISTIC,
        f"{names[1]} is {{1:.6g}}, outside of all recorded values": np.abs(high) > LARGEST_STATISTIC,
        "std is {1:.6g}, which is negative": (high < 0) & (mode == "mean_std"),
        f"{names[0]} is {{0:.6g}} and {names[1]} is {{1:.6g}}": (low > high + slack) & (mode != "mean_std"),
    }
    for text, wrong in checks.items():
        if wrong.any():
            d = int(np.argmax(wrong))
            raise ValueError(f"stream {key!r}: of dimension {d} the {text.format(low[d], high[d])}; {_RECOMPUTE}")


def _option(key: str) -> str:
    return "action_key" if key == ACTION_KEY else "state_key"


def _floor(
    spread: NDArray[np.float64], magnitude: NDArray[np.float64], varies: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(D,) the least scale of each dimension; see `fit_scaling`."""
    if not varies.any():
        return np.zeros_like(spread)
    of_own = np.minimum(1e-3 * magnitude, spread[varies].max() / 100)
    return np.maximum(of_own, min(1e-3, float(np.quantile(spread[varies], 0.75, method="nearest")) / 1000))


def _flat(
    key: str, statistics: Mapping[str, NDArray[np.float64]], name: str, mode: NormalizationMode
) -> NDArray[np.float64]:
    try:
        value = np.asarray(statistics[name], dtype=np.float64).reshape(-1)
    except KeyError:
        raise ValueError(
            f"stream {key!r} has no statistic {name!r} for mode {mode!r} (it has {sorted(statistics)}); compute those "
            "of a dataset with `tempovla data stats ROOT --recompute`, or choose another mode"
        ) from None
    if not np.isfinite(value).all():
        raise ValueError(f"stream {key!r}: statistic {name!r} is not finite, but {value.tolist()}; {_RECOMPUTE}")
    return value
