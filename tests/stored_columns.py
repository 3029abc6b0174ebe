"""Datasets with one column that is stored in some way of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tests.foreign import FRONT, Foreign, encode_image, picture, read_picture

from tempovla.data.inspection import sample_windows

DEPTH, EXTRA = "observation.images.depth", "observation.extra"
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LENGTHS = (3, 2)

Storage = Callable[[int, int], pa.Array]
"""Gives a column of an episode, of its index and length."""


def pictures(index: int, length: int) -> list[np.ndarray]:
    return [picture(index, step) for step in range(length)]


def structs(kind: str = "png", mode: str = "RGB", **options: Any) -> Storage:
    def column(index: int, length: int) -> pa.Array:
        converted = [np.array(Image.fromarray(image).convert(mode)) for image in pictures(index, length)]
        return pa.array([{"bytes": encode_image(image, kind, **options), "path": None} for image in converted], STRUCT)

    return column


def one_camera(column: Storage, **options: Any) -> Foreign:
    return Foreign(
        lengths=LENGTHS,
        storage="image",
        columns=lambda usual, index, length: usual | {FRONT: column(index, length)},
        **options,
    )


def with_column(key: str, entry: dict[str, Any] | None, column: Storage, **options: Any) -> Foreign:
    return Foreign(
        lengths=LENGTHS,
        features={key: entry} if entry else {},
        columns=lambda usual, index, length: usual | {key: column(index, length)},
        **options,
    )


def told(root: Path) -> list[tuple[int, int, int]]:
    return [read_picture(image) for image in sample_windows(root, 1, 0, [f"{FRONT}=0,1"])[FRONT]]


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.ParquetFile(path).read()), path)
