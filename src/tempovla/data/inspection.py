"""A look into a dataset: what it holds, and single windows of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.data.lerobot import open_dataset
from tempovla.data.window import gather
from tempovla.timeline.window import parse_window


def inspect(root: str | Path) -> dict[str, Any]:
    """What a dataset holds, as plain JSON values; its files are compared with its metadata on the way.

    Returns:
        ``format``, ``robot_type``, ``fps``, ``episodes``, ``frames``, ``tasks``, and ``features`` by key, each with
        ``dtype`` (``video`` and ``image`` hold uint8 RGB), ``shape`` and ``names``.

    Raises:
        DatasetError: if it is no dataset, or a file of it is missing, truncated or contradicts the metadata.
    """
    source = open_dataset(root)
    source.check()
    meta = source.meta
    return {
        "root": str(meta.root),
        "format": meta.version,
        "robot_type": meta.robot_type,
        "fps": meta.fps,
        "episodes": len(meta.episodes),
        "frames": sum(record.length for record in meta.episodes),
        "features": {
            key: {"dtype": feature.dtype, "shape": list(feature.shape), "names": list(feature.names)}
            for key, feature in meta.features.items()
        },
        "tasks": list(meta.tasks),
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
    source = open_dataset(root)
    arrays: dict[str, NDArray[Any]] = {}
    for text in windows:
        window = parse_window(text, source.rate_hz)
        if window.key in arrays:
            raise DatasetError(f"window {window.key!r} is given twice; join its offsets, e.g. {window.key}=-1,0")
        arrays[window.key], arrays[f"{window.key}.valid"] = gather(source, episode, frame, window)
    return arrays
