"""Blank pictures, for the baseline of a policy that sees none."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from tempovla.timeline import ActionChunk, Context, Track, Tracks
from tempovla.timeline.config import config_from_json
from tempovla.transform.image import check_side


@dataclass(frozen=True)
class BlankImages:
    """Every picture becomes black: (B, T, 3, size, size) uint8 zeros, also where no picture was given.

    Attributes:
        cameras: keys of the image streams.
        size: side of the pictures that the model sees [px].
    """

    cameras: tuple[str, ...]
    size: int

    def __post_init__(self) -> None:
        check_side(self.size)

    def _blank(self, context: Context, track: Track | None) -> Track:
        offsets = track.offset.tolist() if track is not None else [0]
        black = torch.zeros((), dtype=torch.uint8, device=context.device)
        black = black.expand(context.batch_size, len(offsets), 3, self.size, self.size)
        return Track.of(black, offsets)

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Blank past, present and future pictures."""

        def blank(tracks: Tracks) -> dict[str, Track]:
            return {key: self._blank(context, track) if key in self.cameras else track for key, track in tracks.items()}

        now = {**context.now, **{camera: self._blank(context, context.now.get(camera)) for camera in self.cameras}}
        return replace(context, past=blank(context.past), now=now), blank(future)

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Return the action as it is."""
        return action

    def to_json(self) -> dict[str, Any]:
        """Return the config."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> BlankImages:
        """Read what `to_json` wrote."""
        return config_from_json(cls, data, "blank_images")
