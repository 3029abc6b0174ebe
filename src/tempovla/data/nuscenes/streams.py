"""The streams that a folder of nuScenes' format offers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from tempovla.data.nuscenes.box_stream import most_boxes
from tempovla.data.nuscenes.can_bus import CanBus
from tempovla.data.nuscenes.imu import MESSAGE, window_size
from tempovla.data.nuscenes.imu import RATE_HZ as IMU_RATE_HZ
from tempovla.data.nuscenes.layout import CAMERA_CHANNELS, DEPTH_FOLDER, LIDAR_CHANNEL, LIDAR_FIELDS, RADAR_CHANNELS
from tempovla.data.nuscenes.lights import has_heads, has_lights
from tempovla.data.nuscenes.options import NuScenesOptions
from tempovla.data.nuscenes.scenes import SceneTable
from tempovla.timeline.driving import (
    ACTION_NAMES,
    BOX_NAMES,
    BOXES_KEY,
    CONTROL_RATE_HZ,
    HEAD_NAMES,
    HEADS_KEY,
    IMU_KEY,
    IMU_NAMES,
    LIDAR_KEY,
    LIDAR_NAMES,
    LIGHT_KEY,
    LIGHT_NAMES,
    MOST_HEADS,
    RADAR_KEY,
    RADAR_NAMES,
    ROAD_KEY,
    ROAD_NAMES,
    ROAD_SQUARES,
    STATE_NAMES,
)
from tempovla.timeline.keys import ACTION_KEY, DEPTH_KEY_PREFIX, IMAGE_KEY_PREFIX, POSE_KEY, STATE_KEY
from tempovla.timeline.source import StreamInfo, StreamTable

POSE_NAMES = ("x [m]", "y [m]", "yaw [rad]")
MOTION_KEYS = (STATE_KEY, POSE_KEY, ACTION_KEY, LIGHT_KEY, HEADS_KEY, ROAD_KEY)
"""Streams at the rate of control."""
CHANNEL_OF = (
    {IMAGE_KEY_PREFIX + name: channel for channel, name in CAMERA_CHANNELS.items()}
    | {DEPTH_KEY_PREFIX + name: channel for channel, name in CAMERA_CHANNELS.items()}
    | {LIDAR_KEY: LIDAR_CHANNEL}
)
"""Channels of sensors by stream; targets of several radars are one stream."""

_LOOKED_AT = 8
_MOST_FILES = 4096
_ROUND_POINTS = 64


def find_streams(table: SceneTable, options: NuScenesOptions, cans: Sequence[CanBus]) -> StreamTable:
    """Return the streams of a dataset: those of sensors that any scene has.

    Args:
        table: the scenes.
        options: how they are read.
        cans: messages of each scene.
    """
    rates = _rates(table, options.rate_hz)
    streams: dict[str, StreamInfo] = {}
    left_out: dict[str, str] = {}
    for key, channel in CHANNEL_OF.items():
        if channel not in rates or key == LIDAR_KEY:
            continue
        shape = _picture_shape(table, channel)
        is_depth = key.startswith(DEPTH_KEY_PREFIX)
        if is_depth and not (table.tables.root / DEPTH_FOLDER / channel).is_dir():
            continue
        if isinstance(shape, str):
            left_out[key] = shape
        elif is_depth:
            streams[key] = StreamInfo("depth", (*shape[:2], 1), "float32", rates[channel])
        else:
            streams[key] = StreamInfo("image", shape, "uint8", rates[channel])
    if LIDAR_CHANNEL in rates:
        count = options.max_lidar_points or _largest_cloud(table)
        streams[LIDAR_KEY] = StreamInfo("points", (count, 4), "float32", rates[LIDAR_CHANNEL], LIDAR_NAMES)
    radars = [rates[channel] for channel in RADAR_CHANNELS if channel in rates]
    if radars:
        targets = (options.max_radar_points, len(RADAR_NAMES))
        streams[RADAR_KEY] = StreamInfo("points", targets, "float32", float(np.median(radars)), RADAR_NAMES)
    if any(can.has(MESSAGE) for can in cans):
        window = (window_size(options.rate_hz), len(IMU_NAMES))
        streams[IMU_KEY] = StreamInfo("points", window, "float32", IMU_RATE_HZ, IMU_NAMES)
    boxes = most_boxes(table)
    if boxes:
        streams[BOXES_KEY] = StreamInfo("points", (boxes, len(BOX_NAMES)), "float32", CONTROL_RATE_HZ, BOX_NAMES)
    if any(table.map_file(row) is not None for row in range(len(table))):
        road = (ROAD_SQUARES, len(ROAD_NAMES))
        streams[ROAD_KEY] = StreamInfo("points", road, "float32", options.rate_hz, ROAD_NAMES)
    if any(map(has_lights, cans)):
        light = (len(LIGHT_NAMES),)
        streams[LIGHT_KEY] = StreamInfo("state", light, "float32", options.rate_hz, LIGHT_NAMES)
    if any(map(has_heads, cans)):
        heads = (MOST_HEADS, len(HEAD_NAMES))
        streams[HEADS_KEY] = StreamInfo("points", heads, "float32", options.rate_hz, HEAD_NAMES)
    streams[STATE_KEY] = StreamInfo("state", (4,), "float32", options.rate_hz, STATE_NAMES)
    streams[POSE_KEY] = StreamInfo("state", (3,), "float32", options.rate_hz, POSE_NAMES)
    streams[ACTION_KEY] = StreamInfo("action", (3,), "float32", options.rate_hz, ACTION_NAMES)
    return StreamTable(streams, left_out)


def _rates(table: SceneTable, default_hz: float) -> Mapping[str, float]:
    """Median rate of each channel [Hz], over scenes spread evenly."""
    found: dict[str, list[float]] = {str(channel): [] for channel in np.unique(table.channel_of.astype(str))}
    for row in np.unique(np.linspace(0, len(table) - 1, _LOOKED_AT).astype(int)).tolist():
        for name, channel in table.scene(row).channels.items():
            found[name].append(channel.rate_hz or default_hz)
    return {name: round(float(np.median(rates)), 2) if rates else default_hz for name, rates in found.items()}


def _picture_shape(table: SceneTable, channel: str) -> tuple[int, int, int] | str:
    """The shape of a camera's pictures, or why there is no such stream."""
    readings = table.tables["sample_data"]
    rows = np.flatnonzero(table.channel_of == channel)
    sizes = np.stack([readings["height"][rows], readings["width"][rows]], axis=1)
    other = np.flatnonzero((sizes != sizes[0]).any(axis=1))
    if len(other):
        return (
            f"{readings.told(int(rows[other[0]]))} has height and width {sizes[other[0]].tolist()}, but "
            f"{readings.token(int(rows[0]))!r} has {sizes[0].tolist()}; pictures of one size are needed"
        )
    height, width = sizes[0].tolist()
    return (height, width, 3)


def _largest_cloud(table: SceneTable) -> int:
    """Points of the largest cloud of key frames, by the sizes of up to `_MOST_FILES` files, rounded up."""
    readings = table.tables["sample_data"]
    rows = np.flatnonzero((table.channel_of == LIDAR_CHANNEL) & readings["is_key_frame"])
    largest = 0
    for place in np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_FILES)).astype(int)).tolist():
        try:
            size = os.stat(table.tables.root / readings["filename"][rows[place]]).st_size
        except OSError:  # whoever reads it is told
            continue
        largest = max(largest, size // (4 * LIDAR_FIELDS))
    return max(1, -(-largest // _ROUND_POINTS)) * _ROUND_POINTS
