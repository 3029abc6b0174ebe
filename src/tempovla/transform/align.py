"""Conversion of one body's streams to the form that several bodies share: names, gaps and padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch

from tempovla.storage.json_files import shown
from tempovla.timeline import ActionChunk, Context, Task, Track, Tracks, Window
from tempovla.timeline.config import config_from_json
from tempovla.timeline.keys import ACTION_KEY, dims_key

DTYPES = {"uint8": torch.uint8, "float32": torch.float32}


@dataclass(frozen=True)
class MissingStream:
    """A stream that the body does not have.

    Attributes:
        shape: of one value, as the other bodies have it behind their transforms.
        offsets: of the policy's window on it.
        dtype: of its values: uint8 for pictures, float32 for vectors.
    """

    shape: tuple[int, ...]
    offsets: tuple[int, ...]
    dtype: Literal["uint8", "float32"] = "uint8"

    def __post_init__(self) -> None:
        if any(size < 0 for size in self.shape):
            raise ValueError(f"shape {list(self.shape)} of a missing stream must have no negative size")

    def track(self, rows: int, offsets: Sequence[int], device: torch.device) -> Track:
        """Return zeros that are not valid."""
        value = torch.zeros((rows, len(offsets), *self.shape), dtype=DTYPES[self.dtype], device=device)
        valid = torch.zeros((rows, len(offsets)), dtype=torch.bool, device=device)
        return Track.of(value, offsets, valid)


@dataclass(frozen=True)
class Padding:
    """Places of a body's dimensions in wider vectors.

    Attributes:
        width: dimensions of the wider vectors.
        positions: (D,) of each of the body's own dimensions.
    """

    width: int
    positions: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(set(self.positions)) < len(self.positions) or not all(0 <= p < self.width for p in self.positions):
            raise ValueError(
                f"positions {list(self.positions)} must be different ones from 0 to {self.width - 1}, which are there "
                f"in width={self.width}"
            )

    @classmethod
    def of(cls, dim: int, width: int, *, gripper: bool = False) -> Padding:
        """Return the first dimensions are the body's, and the last one is its last where that is a `gripper`."""
        return cls(width, (*range(dim - 1), width - 1) if gripper else tuple(range(dim)))

    def pad(self, key: str, track: Track) -> Track:
        """Return values (B, T, D) as (B, T, width), 0 in between.

        Raises:
            ValueError: if they have another size.
        """
        if track.value.shape[-1] != len(self.positions):
            raise ValueError(
                f"stream {key!r} has {track.value.shape[-1]} dimensions, not {len(self.positions)}; give data of the "
                "robot that the policy was trained on"
            )
        padded = track.value.new_zeros((*track.value.shape[:-1], self.width))
        padded[..., list(self.positions)] = track.value
        return track.with_value(padded)

    def own(self, rows: int, device: torch.device) -> Track:
        """Return (rows, 1, width) bool at offset 0: which dimensions are the body's own."""
        mask = torch.zeros(self.width, dtype=torch.bool, device=device)
        mask[list(self.positions)] = True
        return Track.of(mask.expand(rows, 1, self.width), (0,))


@dataclass(frozen=True)
class AlignStreams:
    """Gives streams the policy's names and adds streams that the body lacks as invalid ones. Vectors are padded with 0,
    and a track `<key>.dims` marks the dimensions that the body has.

    Attributes:
        names: the policy's key of each stream that the body calls otherwise.
        missing: streams that the body does not have, by the policy's key.
        padding: by key of the padded streams.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, MissingStream] = field(default_factory=dict)
    padding: Mapping[str, Padding] = field(default_factory=dict)

    def own_windows(self, windows: Sequence[Window]) -> tuple[Window, ...]:
        """Return a policy's windows under the body's own names, without the windows on streams that the body lacks."""
        own = {theirs: mine for mine, theirs in self.names.items()}
        return tuple(
            replace(window, key=own.get(window.key, window.key)) for window in windows if window.key not in self.missing
        )

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Rename, pad, and add what is missing."""
        rows, device = context.batch_size, context.device
        past, now, later = (self._aligned(tracks) for tracks in (context.past, context.now, future))
        for key, stream in self.missing.items():
            first = 0 if key == ACTION_KEY else 1  # offset of the first one that lies in the future
            for group, offsets in (
                (past, [offset for offset in stream.offsets if offset < 0]),
                (now, [offset for offset in stream.offsets if 0 <= offset < first]),
                (later, [offset for offset in stream.offsets if offset >= first and future]),
            ):
                if offsets:
                    group[key] = stream.track(rows, offsets, device)
        now |= {dims_key(key): padding.own(rows, device) for key, padding in self.padding.items()}
        return replace(context, past=past, now=now, task=tuple(map(self._named, context.task))), later

    def _named(self, task: Task) -> Task:
        """The task with calibrations under the policy's names of streams, too."""
        cameras = [one for one in task.embodiment.cameras if one.stream in self.names]
        named = [replace(camera, stream=self.names[camera.stream]) for camera in cameras]
        return replace(task, embodiment=task.embodiment.with_cameras(named)) if named else task

    def _aligned(self, tracks: Tracks) -> dict[str, Track]:
        taken = {*self.names.values(), *self.missing}
        named = {
            self.names.get(key, key): track for key, track in tracks.items() if key in self.names or key not in taken
        }
        return {
            key: self.padding[key].pad(key, track) if key in self.padding else track for key, track in named.items()
        }

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Return actions (B, H, width) as the body's own (B, H, D)."""
        if ACTION_KEY not in self.padding:
            return action
        return action.with_value(action.value[..., list(self.padding[ACTION_KEY].positions)])

    def to_json(self) -> dict[str, Any]:
        """Return the config."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> AlignStreams:
        """Read what `to_json` wrote."""
        missing = {
            key: config_from_json(MissingStream, value, f"missing[{key!r}]") for key, value in data["missing"].items()
        }
        padding = {key: config_from_json(Padding, value, f"padding[{key!r}]") for key, value in data["padding"].items()}
        for key, name in data["names"].items():
            if not isinstance(name, str):
                raise ValueError(f"names[{key!r}] is {shown(name)}; it must be the policy's key of a stream")
        return cls(dict(data["names"]), missing, padding)
