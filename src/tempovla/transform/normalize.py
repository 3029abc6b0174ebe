"""Normalisation of states and actions by fitted statistics, and its exact inverse on actions."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tempovla.timeline import ActionChunk, Context, Statistics, Track, Tracks
from tempovla.timeline.keys import ACTION_KEY
from tempovla.timeline.sample import map_tracks
from tempovla.transform.scaling import LARGEST_STATISTIC, NormalizationMode, fit_scaling

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class NormalizationConfig:
    """Normalisation of one stream.

    Attributes:
        mode: `mean_std` gives zero mean and unit variance. `min_max` maps the range, and `quantile` the 1st to 99th
            percentile, to [-1, 1]. Values beyond are not clipped, so the inverse is exact.
        keep: dimensions that are not normalised, e.g. a binary gripper.
    """

    mode: NormalizationMode = "mean_std"
    keep: tuple[int, ...] = ()


class Normalize:
    """Affine per-dimension normalisation, (value - offset) / scale, of the given streams.

    A dimension that never varies is only centred, and one that hardly varies has a floor under its scale; see
    `fit_scaling`.
    """

    def __init__(self, offset: Mapping[str, Tensor], scale: Mapping[str, Tensor]) -> None:
        self.offset = dict(offset)
        self.scale = dict(scale)

    @classmethod
    def fit(
        cls,
        statistics: Statistics,
        streams: Mapping[str, NormalizationConfig],
        names: Mapping[str, Sequence[str]] | None = None,
    ) -> Normalize:
        """Take offset and scale from a dataset's statistics; a warning names dimensions that hardly vary.

        Args:
            statistics: of the dataset.
            streams: how each is normalised.
            names: of the streams' dimensions, for warnings.

        Raises:
            ValueError: if a stream has no statistics, or not those that its mode needs, or they are not finite.
        """
        offset, scale = {}, {}
        for key, config in streams.items():
            fitted = fit_scaling(key, statistics.get(key, {}), config.mode, config.keep, (names or {}).get(key, ()))
            for note in fitted.notes:
                LOGGER.warning(note)
            offset[key] = torch.tensor(fitted.offset, dtype=torch.float32)
            scale[key] = torch.tensor(fitted.scale, dtype=torch.float32)
        return cls(offset, scale)

    def _normalize(self, key: str, track: Track) -> Track:
        return track.with_value(self.normalized(key, track.value)) if key in self.offset else track

    def normalized(self, key: str, value: Tensor) -> Tensor:
        """Return values (..., D) of a stream that has statistics, as the model sees them.

        Raises:
            ValueError: if the statistics are of another size.
        """
        offset, scale = self.offset[key].to(value.device), self.scale[key].to(value.device)
        if value.shape[-1] != len(offset):
            raise ValueError(
                f"stream {key!r} has {value.shape[-1]} dimensions, its statistics {len(offset)}; give statistics of "
                "the robot that the policy was trained on"
            )
        return (value.float() - offset) / scale

    def denormalized(self, key: str, value: Tensor) -> Tensor:
        """Return values (..., D) of a stream that has statistics, back in their units."""
        return value * self.scale[key].to(value.device) + self.offset[key].to(value.device)

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Normalise past, present and future values."""
        return context.map_tracks(self._normalize), map_tracks(future, self._normalize)

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Return actions (B, H, A) back in the robot's units."""
        if ACTION_KEY not in self.offset:
            return action
        return action.with_value(self.denormalized(ACTION_KEY, action.value))

    def to_json(self) -> dict[str, Any]:
        """Return the offset and scale of every stream."""
        return {
            "offset": {key: value.tolist() for key, value in self.offset.items()},
            "scale": {key: value.tolist() for key, value in self.scale.items()},
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Normalize:
        """Read what `to_json` wrote.

        Raises:
            ValueError: naming stream and dimension, if a stream has no offset or no scale, they differ in size, are no
                finite numbers or larger than any statistic, or a scale is not positive.
        """
        offset, scale = (
            {key: _vector(key, name, value) for key, value in data[name].items()} for name in ("offset", "scale")
        )
        for key in offset | scale:
            if key not in offset or key not in scale or offset[key].shape != scale[key].shape:
                raise ValueError(
                    f"normalisation of {key!r} has different numbers of offsets and scales; copy the bundle again"
                )
            if not bool((scale[key] > 0).all()):
                dimension = int((scale[key] <= 0).nonzero()[0])
                raise ValueError(
                    f"normalisation of {key!r} divides dimension {dimension} by {scale[key][dimension]:g}, which is "
                    "not positive; copy the bundle again"
                )
        return cls(offset, scale)


def _vector(key: str, name: str, values: Any) -> Tensor:
    """(D,) offset or scale of one stream."""
    try:
        vector = torch.tensor(values, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        vector = torch.tensor([torch.nan])
    if vector.dim() != 1 or not bool(vector.isfinite().all()):
        shown = repr(values)[:60]
        raise ValueError(f"normalisation of {key!r} has {name} {shown}, not a list of numbers; copy the bundle again")
    beyond = (vector.abs() > LARGEST_STATISTIC).nonzero()
    if len(beyond):
        dimension = int(beyond[0])
        raise ValueError(
            f"normalisation of {key!r} has {name} {vector[dimension]:g} in dimension {dimension}, which is impossible; "
            "copy the bundle again"
        )
    return vector
