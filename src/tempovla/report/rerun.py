"""An episode as a rerun recording (`.rrd`): cameras, state and actions on one timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.storage.extras import install_command
from tempovla.storage.whole import write_bytes
from tempovla.timeline.driving import LIDAR_KEY, RADAR_KEY
from tempovla.timeline.keys import POINTS_KEY_PREFIX

APPLICATION = "tempovla"
JPEG_QUALITY = 92

Episode = Mapping[str, NDArray[Any]]
_AXES = {LIDAR_KEY: 3, RADAR_KEY: 2}
"""Of the places of points, by stream."""


def write_rrd(
    episode: Episode,
    path: Path | str,
    rate_hz: float,
    instruction: str | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write one episode; `rerun FILE` shows it. Needs the extra `viz`.

    Args:
        episode: streams by key, all with T rows: uint8 (T, H, W, 3) RGB becomes pictures (JPEG, for looking at),
            numbers (T,) or (T, D) become lines, drawn as they are; a NaN is a gap. The points of a LiDAR and of radars
            (T, N, F) become points in space; other streams of points are left out.
        path: the .rrd to write; replaced in one step.
        rate_hz: rows a second, for the timeline `time` beside `step`.
        instruction: shown as text.
        names: for a key, the names of its D dimensions; their numbers where absent.

    Raises:
        ValueError: if the extra is missing, a stream is neither pictures nor numbers or differs in T, or names are not
            D.
        NotWrittenError: if the disk does not take it.
    """
    rr = _load_rerun()
    episode = {key: values for key, values in episode.items() if key in _AXES or not key.startswith(POINTS_KEY_PREFIX)}
    plotted = {key: values for key, values in episode.items() if not _is_pictures(values) and key not in _AXES}
    labels = {key: _labels(key, values, names or {}) for key, values in plotted.items()}
    steps = _length(episode)
    path = Path(path)
    recording = rr.RecordingStream(APPLICATION, recording_id=path.stem)
    stream = recording.binary_stream()  # rerun's own writer prints by itself where the disk is full
    recording.send_blueprint(_layout(episode, instruction), make_active=False, make_default=True)
    if instruction is not None:
        recording.log("instruction", rr.TextDocument(instruction), static=True)
    for key, dimensions in labels.items():
        recording.log(key, rr.SeriesLines(names=dimensions), static=True)
    for step in range(steps):
        recording.set_time("step", sequence=step)
        recording.set_time("time", duration=step / rate_hz)
        for key, values in episode.items():
            if key in labels:
                recording.log(key, rr.Scalars(np.atleast_1d(values[step]).astype(np.float64)))
            elif key in _AXES:
                recording.log(key, rr.Points3D(_places(values[step], _AXES[key])))
            else:
                recording.log(key, rr.Image(values[step]).compress(jpeg_quality=JPEG_QUALITY))
    data = stream.read(flush=True)
    recording.disconnect()
    write_bytes(path, data)
    return path


def _load_rerun(name: str = "rerun") -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"rerun recordings need {error.name!r}; install it with: {install_command('viz')}") from None


def _layout(episode: Episode, instruction: str | None) -> Any:
    """Cameras in a row above one plot a stream, the instruction on top of them."""
    views = _load_rerun("rerun.blueprint")
    cameras = [views.Spatial2DView(origin=key, name=key) for key in episode if _is_pictures(episode[key])]
    spaces = [views.Spatial3DView(origin=key, name=key) for key in episode if key in _AXES]
    plots = [
        views.TimeSeriesView(origin=key, name=key)
        for key in episode
        if not _is_pictures(episode[key]) and key not in _AXES
    ]
    rows = [] if instruction is None else [(views.TextDocumentView(origin="instruction", name="instruction"), 1)]
    rows += [(views.Horizontal(*cameras), 5)] if cameras else []
    rows += [(views.Horizontal(*spaces), 5)] if spaces else []
    rows += [(plot, 3) for plot in plots]
    stacked = views.Vertical(*[view for view, _ in rows], row_shares=[share for _, share in rows])
    return views.Blueprint(stacked, collapse_panels=True)


def _places(points: NDArray[Any], axes: int) -> NDArray[Any]:
    """Places (M, 3) of the points (N, F) that are there; on the ground where they have two axes."""
    there = points[np.isfinite(points).all(axis=1), :axes]
    return np.pad(there, ((0, 0), (0, 3 - axes)))


def _is_pictures(values: NDArray[Any]) -> bool:
    return values.dtype == np.uint8 and values.ndim == 4 and values.shape[-1] == 3


def _length(episode: Episode) -> int:
    lengths = {key: len(values) for key, values in episode.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"streams have {lengths} rows; an episode needs at least one stream, all equally long")
    return next(iter(lengths.values()))


def _labels(key: str, values: NDArray[Any], names: Mapping[str, Sequence[str]]) -> list[str]:
    if values.ndim not in (1, 2) or values.dtype.kind not in "buif":
        raise ValueError(
            f"stream {key!r} is {values.dtype} {values.shape}; write_rrd wants uint8 pictures (T, H, W, 3) or numbers "
            "(T,) or (T, D)"
        )
    dimensions = 1 if values.ndim == 1 else values.shape[1]
    labels = list(names.get(key, map(str, range(dimensions))))
    if len(labels) != dimensions:
        raise ValueError(f"stream {key!r} has {dimensions} dimensions but {len(labels)} names; give one for each")
    return labels
