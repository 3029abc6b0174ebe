"""Errors of the data room: one line that names the file, the key, the offending value and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from tempovla.timeline.driving import BOXES_KEY, HEADS_KEY, IMU_KEY, LIDAR_KEY, LIGHT_KEY, RADAR_KEY, ROAD_KEY
from tempovla.timeline.source import StreamTable

_LIGHTS = (
    "nuScenes does not tell the next traffic light, and neither do scenes that an earlier version collected: collect "
    "them anew with this version, or train with model.light_weight=0"
)
_WHENCE: Mapping[str, str] = {
    BOXES_KEY: "scenes that are annotated have it: give some, or train with model.occupancy_weight=0",
    ROAD_KEY: "scenes with a map have it: give some, or train with model.road_weight=0",
    LIGHT_KEY: _LIGHTS,
    HEADS_KEY: _LIGHTS,
    **{
        key: f"give scenes that have this sensor, or, for a driving policy, leave {sensor} out of model.sensors"
        for key, sensor in ((LIDAR_KEY, "lidar"), (RADAR_KEY, "radar"), (IMU_KEY, "imu"))
    },
}
"""Where streams come from that only some datasets of their format have."""


class DatasetError(ValueError):
    """A dataset that cannot be used as it is."""


class OutOfRangeError(DatasetError, IndexError):
    """An episode or a frame that the dataset does not have."""


class UnknownStreamError(DatasetError, KeyError):
    """A stream that the dataset does not have."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the repr


def refuse_left_out(streams: Mapping[str, object], keys: Iterable[str], where: str) -> None:
    """Say why a wanted stream is left out.

    Raises:
        UnknownStreamError: if one is.
    """
    for key in keys:
        if isinstance(streams, StreamTable) and key in streams.left_out:
            raise unknown_stream(key, streams, where)


def unknown_stream(key: str, known: Iterable[str], where: str) -> UnknownStreamError:
    """The error for a stream that `where` does not have: why it is left out, where it comes from, or the nearest names
    that there are.
    """
    for described in (key, key.partition(".")[0]):
        if isinstance(known, StreamTable) and described in known.left_out:
            return UnknownStreamError(f"{where}: stream {key!r} is left out: {known.left_out[described]}")
    if key in _WHENCE:
        return UnknownStreamError(f"{where}: no stream {key!r}; {_WHENCE[key]}")
    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(names)}"
    return UnknownStreamError(f"{where}: no stream {key!r}; {hint}")
