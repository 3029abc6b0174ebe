"""Single images as they are stored in parquet files: PNG without loss, and whatever else Pillow reads."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tempovla.data.errors import DatasetError


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 RGB to PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def decode_image(encoded: bytes, shape: tuple[int, ...], where: str) -> NDArray[np.uint8]:
    """Encoded image to (H, W, 3) uint8 RGB.

    Raises:
        DatasetError: if it cannot be decoded, or is not of the declared shape.
    """
    image = decode_any_image(encoded, where)
    if image.shape != shape:
        raise DatasetError(
            f"{where}: image of shape {list(image.shape)}, but meta/info.json declares {list(shape)}; correct it"
        )
    return image


def decode_any_image(encoded: bytes, where: str) -> NDArray[np.uint8]:
    """Encoded image of any size to (H, W, 3) uint8 RGB.

    Raises:
        DatasetError: if it cannot be decoded.
    """
    try:
        return np.array(Image.open(io.BytesIO(encoded)).convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise DatasetError(f"{where}: damaged image ({error}); copy the dataset again") from None
