"""Augmentation: random changes for training only, each a pure function of the sample's seed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tempovla.timeline import Track
from tempovla.timeline.noise import mix_seed, row_integers
from tempovla.timeline.sample import TimelineSample

_SHIFT_STREAM = 0x5348


@dataclass(frozen=True)
class RandomShift:
    """Shift pictures (B, T, 3, H, W) by up to `pad_px` in x and y, edges replicated (DrQ; Yarats et al., 2021).

    All steps of one stream in one row move together, so that motion between them stays true; streams move apart.
    """

    pad_px: int = 4

    def __call__(self, sample: TimelineSample) -> TimelineSample:
        """The sample with shifted pictures."""
        tracks = {**sample.context.past, **sample.context.now, **sample.future}
        streams = {key: index for index, key in enumerate(sorted(tracks)) if tracks[key].holds_frames}
        if self.pad_px == 0 or not streams:
            return sample

        def shift(key: str, track: Track) -> Track:
            if key not in streams:
                return track
            seed = mix_seed(sample.seed, _SHIFT_STREAM + streams[key])
            return track.with_value(shift_frames(track.value, row_integers(seed, -self.pad_px, self.pad_px + 1, (2,))))

        return sample.map_tracks(shift)


def shift_frames(frames: Tensor, shift: Tensor) -> Tensor:
    """Move frames (B, T, C, H, W) by shift (B, 2) whole pixels (down, right), repeating the edge."""
    height, width = frames.shape[-2:]
    y = (torch.arange(height, device=frames.device) - shift[:, :1]).clamp(0, height - 1)
    x = (torch.arange(width, device=frames.device) - shift[:, 1:]).clamp(0, width - 1)
    pixel = (y[:, :, None] * width + x[:, None, :]).flatten(1)[:, None, None]
    flat = frames.flatten(-2)
    return flat.gather(-1, pixel.expand(flat.shape)).unflatten(-1, (height, width))
