"""Single pictures out of LIBERO's files: straight from the disk where they lie there as they are, else unpacked."""

from __future__ import annotations

import os
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tempovla.data.byte_cache import ByteCache
from tempovla.data.errors import DatasetError
from tempovla.data.libero_files import HDF5_ERRORS, damaged, open_hdf5
from tempovla.data.libero_pictures import Frames

_MOST_OPEN_FILES = 256
"""More than LIBERO-90 has, and well below the 1024 that a process may have open."""


class FrameReader:
    """Reads pictures, with the files used last kept open.

    HDF5's own library takes ten times as long as the disk's cache to hand out a picture that is not packed, so those
    are read without it.

    Args:
        cache: for pictures that had to be unpacked.
    """

    def __init__(self, cache: ByteCache) -> None:
        self._cache = cache
        self._files: OrderedDict[Path, _OpenFile] = OrderedDict()
        self._process = os.getpid()

    def read(self, frames: Frames, step: int) -> NDArray[Any]:
        """Return one picture (H, W, 3) or (H, W, 1) as it is stored, the top row first; a view that must not be written
        to.

        Raises:
            DatasetError: if the file is gone, cut off or damaged.
        """
        picture = self._unpacked(frames, step) if frames.offset is None else self._plain(frames, frames.offset, step)
        if frames.stored == "turned":
            return picture[:, ::-1]
        return picture[::-1] if frames.stored == "bottom_first" else picture

    def _plain(self, frames: Frames, offset: int, step: int) -> NDArray[Any]:
        shape, dtype = frames.shape[1:], np.dtype(frames.dtype)
        size = shape[0] * shape[1] * shape[2] * dtype.itemsize
        data = os.pread(self._open(frames.path).descriptor, size, offset + step * size)
        if len(data) != size:
            raise DatasetError(f"{frames.path}: cut off before {frames.dataset} step {step}; copy it again")
        return np.frombuffer(data, dtype=dtype).reshape(shape)

    def _unpacked(self, frames: Frames, step: int) -> NDArray[Any]:
        number, within = divmod(step, frames.block)
        place = (frames.path, frames.dataset, number)
        block = self._cache.get(place)
        if block is None:
            first, file = number * frames.block, self._open(frames.path).hdf5
            try:
                block = file[frames.dataset][first : first + frames.block]
            except HDF5_ERRORS as error:
                raise damaged(frames.path, error, f"{frames.dataset} near step {step}: ") from None
            self._cache.put(place, block)
        return block[within]

    def _open(self, path: Path) -> _OpenFile:
        if self._process != os.getpid():  # a forked process has no business in its parent's HDF5 handles
            self._files, self._process = OrderedDict(), os.getpid()
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = _OpenFile(path)
            if len(self._files) > _MOST_OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(path)
        return file


class _OpenFile:
    """A file, opened in the way in which it is needed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def descriptor(self) -> int:
        try:
            return os.open(self._path, os.O_RDONLY)
        except OSError as error:
            raise DatasetError(f"{self._path}: not readable ({error.strerror}); copy the dataset again") from None

    @cached_property
    def hdf5(self) -> h5py.File:
        return open_hdf5(self._path)

    def close(self) -> None:
        opened = vars(self)
        if "descriptor" in opened:
            os.close(opened.pop("descriptor"))
        if "hdf5" in opened:
            opened.pop("hdf5").close()

    __del__ = close
