"""Where pictures, distances and calibrations lie in LIBERO's demonstration files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from tempovla.data.errors import DatasetError
from tempovla.data.hdf5_bounds import refuse_unstored
from tempovla.data.libero_layout import CAMERAS_ATTRIBUTE, DEPTH_UNIT_ATTRIBUTE, DEPTHS, LiberoImages
from tempovla.storage.said_by import said_by
from tempovla.timeline.calibration import CameraCalibration, check_cameras
from tempovla.timeline.config import config_from_json


@dataclass(frozen=True)
class Frames:
    """Where the pictures of one camera and one demonstration are, of colours or of distances.

    Attributes:
        path: the file.
        dataset: the dataset in it.
        shape: (T, H, W, 3), or (T, H, W, 1) of distances.
        offset: the first byte in the file of pictures that lie in it as they are, one after the other; None where
            they are compressed or in chunks.
        block: how many pictures are unpacked at once, where they are.
        stored: how they lie there.
        dtype: numpy name of a stored number.
    """

    path: Path
    dataset: str
    shape: tuple[int, int, int, int]
    offset: int | None
    block: int
    stored: LiberoImages
    dtype: str = "uint8"


def find_dataset(where: str, demo: h5py.Group, key: str) -> h5py.Dataset:
    """Return a dataset of a demonstration whose values lie in the file.

    Raises:
        DatasetError: if there is none.
    """
    dataset = demo.get(key)
    if not isinstance(dataset, h5py.Dataset):
        there = sorted(map(str, demo["obs"] if key.startswith("obs/") and "obs" in demo else demo))
        raise DatasetError(
            f"{where} has no {key}, only {', '.join(there) or 'nothing'}; record it with LIBERO's create_dataset.py, "
            "or leave the file out"
        )
    if dataset.shape is None:
        raise DatasetError(f"{where}: {key} is empty, not even of length 0; leave the file out, or record it again")
    refuse_unstored(f"{where}: {key}", dataset)
    return dataset


def find_frames(where: str, path: Path, demo: h5py.Group, key: str, stored: LiberoImages) -> Frames:
    """Return where the pictures of a camera are.

    Raises:
        DatasetError: if there are none, or the file is cut off before their end.
    """
    dataset = find_dataset(where, demo, key)
    if dataset.dtype != np.uint8 or dataset.ndim != 4 or dataset.shape[3] != 3:
        raise DatasetError(
            f"{where}: {key} is {dataset.dtype} {list(dataset.shape)}, not uint8 RGB (T, H, W, 3); record it again"
        )
    return _place(path, demo, key, dataset, stored)


def find_depths(where: str, path: Path, demo: h5py.Group, stored: LiberoImages, length: int) -> dict[str, Frames]:
    """Return where the distances of cameras are, by stream; those of other writers, in no known unit, are passed by.

    Raises:
        DatasetError: if they are not as this package writes them.
    """
    found = {}
    for stream, name in DEPTHS.items():
        key = f"obs/{name}"
        dataset = demo.get(key)
        if not isinstance(dataset, h5py.Dataset) or DEPTH_UNIT_ATTRIBUTE not in dataset.attrs:
            continue
        refuse_unstored(f"{where}: {key}", dataset)
        unit = dataset.attrs[DEPTH_UNIT_ATTRIBUTE]
        shape: tuple[int, ...] = tuple(dataset.shape or ())
        if unit != "mm" or dataset.dtype != np.uint16 or len(shape) != 4 or shape[3] != 1 or shape[0] != length:
            raise DatasetError(
                f"{where}: {key} is {dataset.dtype} {list(shape)} in {unit!r}, not uint16 ({length}, H, W, 1) in 'mm'; "
                f"record it again, or remove its attribute {DEPTH_UNIT_ATTRIBUTE!r} to leave it out"
            )
        found[stream] = _place(path, demo, key, dataset, stored)
    return found


def find_cameras(where: str, demo: h5py.Group) -> tuple[CameraCalibration, ...]:
    """Return the calibrations of a demonstration's cameras, as far as this package has written them.

    Raises:
        DatasetError: if they cannot be read.
    """
    if CAMERAS_ATTRIBUTE not in demo.attrs:
        return ()
    place, remedy = f"{where}: attribute {CAMERAS_ATTRIBUTE!r}", "repair or remove it"
    with said_by(place, remedy=remedy, error=DatasetError):
        entries = json.loads(demo.attrs[CAMERAS_ATTRIBUTE])
        cameras = tuple(config_from_json(CameraCalibration, entry) for entry in entries)
        check_cameras(cameras)
    return cameras


def _place(path: Path, demo: h5py.Group, key: str, dataset: h5py.Dataset, stored: LiberoImages) -> Frames:
    """Where a dataset of pictures lies.

    Raises:
        DatasetError: if the file is cut off before its end.
    """
    offset = dataset.id.get_offset()
    if offset is not None and dataset.id.get_storage_size() == 0:  # never written: all black, and nowhere in the file
        offset = None
    if offset is not None:
        path = Path(dataset.file.filename)  # another one of the folder behind an external link
        missing = offset + dataset.size * dataset.dtype.itemsize - path.stat().st_size
        if missing > 0:
            raise DatasetError(f"{path}: cut off, {missing} bytes of {key} are missing; copy it again")
    block = dataset.chunks[0] if dataset.chunks else max(1, len(dataset))
    return Frames(path, f"{demo.name}/{key}", dataset.shape, offset, block, stored, dataset.dtype.name)
