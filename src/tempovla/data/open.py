"""Opening a dataset, whatever its format."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from tempovla.data.errors import DatasetError
from tempovla.data.formats import FORMAT_REGISTRY, OpenOptions, format_name
from tempovla.data.libero_layout import LiberoImages
from tempovla.data.modality import with_modality
from tempovla.data.nuscenes.options import NuScenesOptions
from tempovla.data.selection import select
from tempovla.data.stream_keys import StreamKeys, with_keys
from tempovla.timeline.arguments import brief, path_argument, text_argument
from tempovla.timeline.source import EpisodeSource


def open_source(
    path: str | Path,
    demos_per_task: int | None = None,
    max_len_data: int | None = None,
    *,
    keys: StreamKeys | None = None,
    depth_unit: str | None = None,
    default_instruction: str = "",
    libero_images: LiberoImages = "auto",
    nuscenes: NuScenesOptions | None = None,
) -> EpisodeSource:
    """Open a dataset of any format in `FORMAT_REGISTRY`, which is recognised by its files.

    Args:
        path: the folder that holds ``meta/``, or that of nuScenes' ``v1.0-*``, or ``<task>_demo.hdf5`` files or the
            folder that holds them.
        demos_per_task: use at most the first so many episodes of each task.
        max_len_data: leave out the steps of an episode beyond so many; see `select`.
        keys: the dataset's own keys of state and action, where they are not ``observation.state`` and ``action``.
        depth_unit: unit of depth pictures where the dataset does not declare it: ``m``, ``cm``, ``mm`` or metres.
        default_instruction: instruction of steps that have none.
        libero_images: orientation of pictures in LIBERO's files.
        nuscenes: how files of nuScenes' format are read.

    Raises:
        DatasetError: if it is none of these, or cannot be used as it is.
    """
    try:
        path = path_argument("path", path, "a dataset")
        text_argument("default_instruction", default_instruction, "open the drawer")
        if depth_unit is not None:
            text_argument("depth_unit", depth_unit, "mm")
    except ValueError as problem:
        raise DatasetError(str(problem)) from None
    if libero_images not in get_args(LiberoImages):
        known = ", ".join(get_args(LiberoImages))
        raise DatasetError(f"libero_images={brief(libero_images)} is unknown; choose from {known}")
    if keys is not None and not isinstance(keys, StreamKeys):
        raise DatasetError(f"keys is {keys!r}; give what StreamKeys.parse(state_key, action_key) returns")
    if not path.exists():
        raise DatasetError(
            f"{path}: no such file or folder; give that of a LeRobot dataset, or of LIBERO's *.hdf5 or nuScenes' v1.0-*"
        )
    name = format_name(path)
    if name is None:
        own = [other for other in FORMAT_REGISTRY if other not in ("lerobot", "libero_hdf5", "nuscenes")]
        others = f", nor of the format {' or '.join(own)}" if own else ""
        raise DatasetError(
            f"{path}: not a LeRobot dataset, it has no meta/info.json, nor LIBERO's, it has no *.hdf5, nor "
            f"nuScenes', it has no v1.0-*{others}; give the folder that holds one of these"
        )
    options = OpenOptions(depth_unit, default_instruction, libero_images, nuscenes or NuScenesOptions())
    source = FORMAT_REGISTRY[name].open(path, options)
    if len(source) == 0:
        raise DatasetError(f"{path}: holds no episode with any step; record some, or give another dataset")
    source = with_modality(select(source, demos_per_task, max_len_data), path)
    return source if keys is None else with_keys(source, keys)
