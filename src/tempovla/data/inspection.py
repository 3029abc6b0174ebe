"""Inspection of a dataset: its contents, and single windows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.declared import names_problem
from tempovla.data.errors import DatasetError
from tempovla.data.formats import format_name
from tempovla.data.gripper_values import gripper_hints
from tempovla.data.joined import forms_of, recorded, recorded_parts
from tempovla.data.lerobot import LeRobotSource
from tempovla.data.libero_layout import CAMERAS, LiberoImages
from tempovla.data.nuscenes.source import NuScenesSource
from tempovla.data.open import open_source
from tempovla.data.plausibility import statistics_problems
from tempovla.data.stream_keys import StreamKeys, check_vectors, hints
from tempovla.data.window import gather
from tempovla.data.words import check_words, words_told
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.timeline.source import EpisodeSource, StreamTable
from tempovla.timeline.window import Window, parse_window

MOST_SAMPLE_BYTES = 1 << 30
"""Largest size of all windows of one sample [bytes]."""


def inspect(
    root: str | Path,
    keys: StreamKeys | None = None,
    *,
    depth_unit: str | None = None,
    libero_images: LiberoImages = "auto",
    default_instruction: str = "",
) -> dict[str, Any]:
    """Return the contents of a dataset as plain JSON values. Everything that training on its state, action and cameras
    would read is checked as well; of pictures only the headers.

    Args:
        root: the dataset.
        keys: what it calls its state and its action; both are then among the features, joined.
        depth_unit: unit of depth pictures where the dataset does not declare it.
        libero_images: orientation of pictures in LIBERO's files.
        default_instruction: instruction of steps that have none.

    Returns:
        ``format`` (``v2.1``, ``v3.0``, ``libero-hdf5`` or a name in `FORMAT_REGISTRY`), ``robot_type``, ``fps``,
        ``episodes``, ``frames``, ``tasks`` (all that the rows are told), ``recording`` (how the pictures were made,
        where known), and
        ``features`` by key, each with ``dtype`` as it is stored, ``kind`` (see `StreamInfo`), ``shape``, ``names`` and
        ``warnings`` (what is wrong with it that such a policy does not mind); ``left_out``, why columns that are
        declared cannot be read; and ``hints``, which options say what the state or the action is called,
        and what training says of a last action dimension that takes two values.

    Raises:
        DatasetError: if it is no dataset, or training on it would be refused: a file is missing or truncated,
            contradicts the metadata, or holds values that cannot be read, or the statistics are not those of the rows,
            or steps are told nothing.
    """
    source = open_source(
        root,
        keys=keys,
        depth_unit=depth_unit,
        libero_images=libero_images,
        default_instruction=default_instruction,
    )
    facts = inspect_source(source)
    name = format_name(Path(root))
    return facts if name in ("lerobot", "libero_hdf5") else facts | {"format": name}


def inspect_source(source: EpisodeSource) -> dict[str, Any]:
    """Return the value of `inspect`, for a dataset that is open already.

    Raises:
        DatasetError: as `inspect` does.
    """
    files = recorded(source)
    warnings: dict[str, list[str]] = {}
    left_out: Mapping[str, str] = {}
    infos = [source.episode(i) for i in range(len(source))]
    dtypes = {key: "image" if stream.kind == "image" else stream.dtype for key, stream in source.streams.items()}
    if isinstance(files, LeRobotSource):
        problems = files.check(
            {key: recorded_parts(source, key) for key in (STATE_KEY, ACTION_KEY) if forms_of(source, key)}
        )
        for line in statistics_problems(source):
            raise DatasetError(line)
        warnings = {key: [found] for key, found in problems.items()}
        left_out = source.streams.left_out if isinstance(source.streams, StreamTable) else {}
        for key, stream in files.streams.items():
            problem = None if stream.is_picture else names_problem(files.meta.info["features"][key], stream.shape)
            if problem is not None:
                warnings.setdefault(key, []).append(problem)
        version = files.meta.version
        same = {key for key in files.streams if files.streams[key] == source.streams[key]}
        dtypes |= {key: feature.dtype for key, feature in files.meta.features.items() if key in same}
    else:
        if isinstance(files, NuScenesSource):
            files.check()
        if isinstance(files.streams, StreamTable):
            for key in CAMERAS:
                if key in files.streams.left_out:
                    raise DatasetError(files.streams.left_out[key])
            left_out = files.streams.left_out
        version = "libero-hdf5"
    check_vectors(source, (STATE_KEY, ACTION_KEY))
    check_words(source, option="--default_instruction")
    cameras = source.embodiment.cameras
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
        "hints": [*hints(source), *gripper_hints(source)],
        "tasks": words_told(source),
        "recording": dict(source.recording),
        **({"cameras": [config_to_json(camera) for camera in cameras]} if cameras else {}),
    }


def sample_windows(
    root: str | Path,
    episode: int,
    frame: int,
    windows: Sequence[str],
    keys: StreamKeys | None = None,
    *,
    depth_unit: str | None = None,
    libero_images: LiberoImages = "auto",
) -> dict[str, NDArray[Any]]:
    """Return windows around one frame.

    Args:
        root: the dataset.
        episode: which episode, from 0.
        frame: which frame of it is now, from 0.
        windows: ``KEY=OFFSETS``, e.g. ``action=0:16`` or ``observation.state=-0.2s,0s``.
        keys: the dataset's own keys of state and action.
        depth_unit: unit of depth pictures where the dataset does not declare it.
        libero_images: orientation of pictures in LIBERO's files.

    Returns:
        For each window ``KEY`` (T, ...), images uint8 (T, H, W, 3) RGB, depth float32 (T, H, W, 1) metres,
        ``KEY.valid`` (T,) bool, False where the value was clamped at an end of the episode, and ``KEY.offsets`` (T,)
        int64, the control steps relative to now that were read.

    Raises:
        DatasetError: if there is no such dataset, episode, frame or stream.
        ValueError: if a window is not readable, or all of them hold more than `MOST_SAMPLE_BYTES`.
    """
    source = open_source(root, keys=keys, depth_unit=depth_unit, libero_images=libero_images)
    parsed: dict[str, Window] = {}
    for text in windows:
        window = parse_window(text, source.rate_hz)
        if window.key in parsed:
            raise DatasetError(f"window {window.key!r} is given twice; join its offsets, e.g. {window.key}=-1,0")
        parsed[window.key] = window
    _check_size(source, parsed.values())
    arrays: dict[str, NDArray[Any]] = {}
    for window in parsed.values():
        arrays[window.key], arrays[f"{window.key}.valid"] = gather(source, episode, frame, window)
        arrays[f"{window.key}.offsets"] = np.array(window.offsets, dtype=np.int64)
    return arrays


def _check_size(source: EpisodeSource, windows: Iterable[Window]) -> None:
    """Refuse windows that hold too much, before memory is taken for them; streams that there are not are passed over.

    Raises:
        DatasetError: naming the largest.
    """
    sizes = {
        window.key: len(window.offsets) * math.prod(stream.shape) * np.dtype(stream.dtype).itemsize
        for window in windows
        if (stream := source.streams.get(window.key)) is not None
    }
    if sum(sizes.values()) > MOST_SAMPLE_BYTES:
        key = max(sizes, key=lambda name: sizes[name])
        raise DatasetError(
            f"{source.name}: the windows hold {sum(sizes.values()) / 2**30:.3g} GiB, that of {key!r} the most of it, "
            f"and a sample holds at most {MOST_SAMPLE_BYTES / 2**30:g} GiB; give fewer offsets"
        )
