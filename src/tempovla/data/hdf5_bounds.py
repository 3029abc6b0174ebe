"""Checks of an HDF5 file's declared sizes against its stored bytes, before memory is allocated."""

from __future__ import annotations

import math
import os

import h5py

from tempovla.data.errors import DatasetError

MOST_DENSE = 1032
"""How many bytes deflate makes of one at the very most; the other filters make fewer."""
NOT_WORTH_A_LOOK_BYTES = 64 << 20
"""What any machine has; less may be declared without being stored, such as pictures that are all black."""


def refuse_unstored(where: str, dataset: h5py.Dataset) -> None:
    """Refuse a dataset that declares far more values than its file can hold with any compression.

    Raises:
        DatasetError: if reading it would take memory for values that nobody stored.
    """
    declared = dataset.size * dataset.dtype.itemsize
    if dataset.chunks:
        declared = max(declared, math.prod(dataset.chunks) * dataset.dtype.itemsize)
    if declared <= NOT_WORTH_A_LOOK_BYTES:
        return
    stored = min(dataset.id.get_storage_size(), os.stat(dataset.file.filename).st_size)
    if declared > MOST_DENSE * stored:
        raise DatasetError(
            f"{where} declares {declared:,} bytes of {dataset.dtype} {list(dataset.shape)}, of which the file stores "
            f"{stored:,}; leave the file out, or record it again"
        )
