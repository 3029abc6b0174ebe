"""Steps of a vehicle as waypoints of its trajectory, and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any

import torch

from tempovla.timeline import ActionChunk, Context, Track, Tracks
from tempovla.timeline.config import config_from_json
from tempovla.timeline.keys import ACTION_KEY
from tempovla.timeline.trajectory import (
    POSE_DIM,
    metric_waypoints,
    normalized_waypoints,
    steps_of,
    valid_waypoints,
)


@dataclass(frozen=True)
class Waypoints:
    """The actions from now on, steps (B, H, 3) in metres and radians, become normalised waypoints (B, H, 3).

    Waypoint i is the pose after i + 1 steps in the vehicle's frame of now: x, y and heading. It is valid only if all
    steps up to it are. How it is normalised follows from its time alone; see `waypoint_scaling`. Past actions stay as
    they are.

    Attributes:
        rate_hz: control rate [Hz].
    """

    rate_hz: float

    def __post_init__(self) -> None:
        if not 0 < self.rate_hz < inf:
            raise ValueError(f"rate_hz={self.rate_hz} of waypoints must be greater than 0, and finite")

    def _composed(self, key: str, track: Track) -> Track:
        if key != ACTION_KEY:
            return track
        offsets = track.offset.tolist()
        if track.value.dim() != 3 or track.value.shape[-1] != POSE_DIM or offsets != list(range(len(offsets))):
            raise ValueError(
                f"actions {tuple(track.value.shape)} at {offsets} are no trajectory; give the steps (forward, left, "
                "turn) of a vehicle at 0, 1, 2, ..."
            )
        valid = valid_waypoints(track.valid)
        steps = torch.where(valid[..., None], track.value.float(), 0.0)
        return replace(track, value=normalized_waypoints(steps, self.rate_hz), valid=valid)

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Compose the steps from now on.

        Raises:
            ValueError: if actions are not steps in the plane from now on.
        """
        return context, {key: self._composed(key, track) for key, track in future.items()}

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Return the steps between normalised waypoints (B, H, 3)."""
        return action.with_value(steps_of(metric_waypoints(action.value, self.rate_hz)))

    def to_json(self) -> dict[str, Any]:
        """Return the config."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Waypoints:
        """Read what `to_json` wrote."""
        return config_from_json(cls, data, "waypoints")
