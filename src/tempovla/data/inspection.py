"""A look into a dataset: what it holds, and single windows of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.data.lerobot import LeRobotSource
from tempovla.data.open import open_source
from tempovla.data.window import gather
from tempovla.data.words import words_told
from tempovla.timeline.window import parse_window


def inspect(root: str | Path) -> dict[str, Any]:
    """What a dataset holds, as plain JSON values; its files are checked on the way, but no picture is decoded.

    Returns:
        ``format`` (``v2.1``, ``v3.0`` or ``libero-hdf5``), ``robot_type``, ``fps``, ``episodes``, ``frames``,
        ``tasks`` (all that the rows are told), ``recording`` (how the pictures were made, where known), and
        ``features`` by key, each with ``dtype`` (``video`` and ``image`` hold uint8 RGB), ``shape`` and ``names``.

    Raises:
        DatasetError: if it is no dataset, or a file of it is missing, truncated or contradicts the metadata.
    """
    source = open_source(root)
    infos = [source.episode(i) for i in range(len(source))]
    if isinstance(source, LeRobotSource):
        source.check()
        version = source.meta.version
        dtypes = {key: feature.dtype for key, feature in source.meta.features.items()}
    else:
        version = "libero-hdf5"
        dtypes = {key: "image" if stream.kind == "image" else stream.dtype for key, stream in source.streams.items()}
    return {
        "root": source.name,
        "format": version,
        "robot_type": source.embodiment.name,
        "fps": source.rate_hz,
        "episodes": len(infos),
        "frames": sum(info.length for info in infos),
        "features": {
            key: {"dtype": dtypes[key], "shape": list(stream.shape), "names": list(stream.names)}
            for key, stream in source.streams.items()
        },
        "tasks": words_told(source),
        "recording": dict(source.recording),
    }


def sample_windows(root: str | Path, episode: int, frame: int, windows: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Windows around one frame.

    Args:
        root: the dataset.
        episode: which episode, from 0.
        frame: which frame of it is now, from 0.
        windows: ``KEY=OFFSETS``, e.g. ``action=0:16`` or ``observation.state=-0.2s,0s``.

    Returns:
        For each window ``KEY`` (T, ...), images uint8 (T, H, W, 3) RGB, and ``KEY.valid`` (T,) bool, False where the
        value was clamped at an end of the episode.

    Raises:
        DatasetError: if there is no such dataset, episode, frame or stream.
        ValueError: if a window is not readable.
    """
    source = open_source(root)
    arrays: dict[str, NDArray[Any]] = {}
    for text in windows:
        window = parse_window(text, source.rate_hz)
        if window.key in arrays:
            raise DatasetError(f"window {window.key!r} is given twice; join its offsets, e.g. {window.key}=-1,0")
        arrays[window.key], arrays[f"{window.key}.valid"] = gather(source, episode, frame, window)
    return arrays
