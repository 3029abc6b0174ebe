"""A look into a dataset: what it holds, and single windows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tempovla.data.declared import names_problem
from tempovla.data.errors import DatasetError
from tempovla.data.lerobot import LeRobotSource
from tempovla.data.open import open_source
from tempovla.data.window import gather
from tempovla.data.words import words_told
from tempovla.timeline.window import parse_window


def inspect(root: str | Path, *, depth_unit: str | None = None) -> dict[str, Any]:
    """What a dataset holds, as plain JSON values. All that training on its state, action and cameras would read is
    checked on the way, without decoding pictures behind their headers.

    Args:
        root: the dataset.
        depth_unit: unit of depth pictures of which the dataset does not tell it.

    Returns:
        ``format`` (``v2.1``, ``v3.0`` or ``libero-hdf5``), ``robot_type``, ``fps``, ``episodes``, ``frames``,
        ``tasks`` (all that the rows are told), ``recording`` (how the pictures were made, where known), and
        ``features`` by key, each with ``dtype`` as it is stored, ``kind`` (see `StreamInfo`), ``shape``, ``names`` and
        ``warnings`` (what is wrong with it that such a policy does not mind); and ``left_out``, why columns that
        are declared cannot be read.

    Raises:
        DatasetError: if it is no dataset, or training on it would be refused: a file is missing or truncated,
            contradicts the metadata, or holds values that cannot be read.
    """
    source = open_source(root, depth_unit=depth_unit)
    warnings: dict[str, list[str]] = {}
    left_out: Mapping[str, str] = {}
    infos = [source.episode(i) for i in range(len(source))]
    if isinstance(source, LeRobotSource):
        warnings, left_out = {key: [found] for key, found in source.check().items()}, source.meta.left_out
        for key, stream in source.streams.items():
            problem = None if stream.is_picture else names_problem(source.meta.info["features"][key], stream.shape)
            if problem is not None:
                warnings.setdefault(key, []).append(problem)
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
            key: {
                "dtype": dtypes[key],
                "kind": stream.kind,
                "shape": list(stream.shape),
                "names": list(stream.names),
                "warnings": warnings.get(key, []),
            }
            for key, stream in source.streams.items()
        },
        "left_out": dict(left_out),
        "tasks": words_told(source),
        "recording": dict(source.recording),
    }


def sample_windows(
    root: str | Path, episode: int, frame: int, windows: Sequence[str], *, depth_unit: str | None = None
) -> dict[str, NDArray[Any]]:
    """Windows around one frame.

    Args:
        root: the dataset.
        episode: which episode, from 0.
        frame: which frame of it is now, from 0.
        windows: ``KEY=OFFSETS``, e.g. ``action=0:16`` or ``observation.state=-0.2s,0s``.
        depth_unit: unit of depth pictures of which the dataset does not tell it.

    Returns:
        For each window ``KEY`` (T, ...), images uint8 (T, H, W, 3) RGB, depth float32 (T, H, W, 1) metres, and
        ``KEY.valid`` (T,) bool, False where the value was clamped at an end of the episode.

    Raises:
        DatasetError: if there is no such dataset, episode, frame or stream.
        ValueError: if a window is not readable.
    """
    source = open_source(root, depth_unit=depth_unit)
    arrays: dict[str, NDArray[Any]] = {}
    for text in windows:
        window = parse_window(text, source.rate_hz)
        if window.key in arrays:
            raise DatasetError(f"window {window.key!r} is given twice; join its offsets, e.g. {window.key}=-1,0")
        arrays[window.key], arrays[f"{window.key}.valid"] = gather(source, episode, frame, window)
    return arrays
