"""Single pictures as they are stored in parquet files: encoded by PNG, JPEG, TIFF and so on, or as numbers."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from tempovla.data.errors import DatasetError
from tempovla.data.layout import MOST_PIXELS, Depth, Feature

_RGB_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr")
"""Pillow's names of what becomes RGB of 8 bits without loss; grey becomes equal channels, transparency is dropped."""
_DEPTH_MODES = ("I;16", "I;16L", "I;16B", "I", "F")
_BROKEN = (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError)
MOST_PICTURE_BYTES = 256 << 20
"""Of an encoded picture; that is more than so many pixels take as they are."""
_TOP_LEVEL = 4095
"""The brightest of 12 bits."""
_TOP_LEVEL_OF_16 = 65535
_PNG_START, _PNG_BITS = b"\x89PNG\r\n\x1a\n", 24


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Return (H, W, 3) uint8 RGB to PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def encode_depth(metres: NDArray[Any], unit_m: float) -> bytes:
    """Return distances (H, W, 1) [m] as a PNG of 16 bits in units of `unit_m` [m].

    What is not finite, or too far for 16 bits, is no reading, which 0 stands for.
    """
    buffer = io.BytesIO()
    Image.fromarray(to_levels(metres[..., 0], unit_m)).save(buffer, "png", compress_level=1)
    return buffer.getvalue()


def to_levels(metres: NDArray[Any], unit_m: float = 0.001) -> NDArray[np.uint16]:
    """Return distances [m] in whole units of `unit_m` [m], 0 where they are not finite or too far for 16 bits."""
    levels = np.rint(metres.astype(np.float64) / unit_m)
    return np.where(np.isfinite(levels) & (levels <= _TOP_LEVEL_OF_16), levels, 0).astype(np.uint16)


def from_levels(levels: NDArray[np.uint16], unit_m: float = 0.001) -> NDArray[np.float32]:
    """Return whole units of `unit_m` [m] as float32 metres."""
    return (levels.astype(np.float64) * unit_m).astype(np.float32)


def decode_image(encoded: bytes, shape: tuple[int, ...], where: str) -> NDArray[np.uint8]:
    """Convert an encoded picture to (H, W, 3) uint8 RGB.

    Raises:
        DatasetError: if it cannot be decoded, is not of the declared shape, or is no RGB or grey picture of 8 bits.
    """
    image = decode_any_image(encoded, where, sides=shape[:2])
    _check_shape(image.shape, shape, where)
    return image


def decode_any_image(encoded: bytes, where: str, sides: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """Convert an encoded picture of any size to (H, W, 3) uint8 RGB, turned as its EXIF orientation says, as LeRobot
    reads it.

    Args:
        encoded: the file's bytes.
        where: it lies, for messages.
        sides: its height and width, in either order, if they are known; another picture is not decoded.

    Raises:
        DatasetError: if it cannot be decoded, has other sides or very many pixels, or is no RGB or grey picture of
            8 bits.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of Pillow, about what transparency is dropped
            image = _open(encoded, where)
            _check_rgb(image, encoded, where)
            if sides is not None and sorted(image.size) != sorted(sides):  # before memory is taken for its pixels
                _check_shape((image.height, image.width, 3), (*sides, 3), where)
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except _BROKEN as error:
        raise _damaged(error, where) from None


def decode_depth(encoded: bytes, feature: Feature, where: str) -> NDArray[np.float32]:
    """Convert an encoded picture of distances to (H, W, 1) float32 metres; 0 is where there is no reading.

    Raises:
        DatasetError: if it cannot be decoded, has less than 16 bits or several channels, or `metres` refuses it.
    """
    try:
        image = _open(encoded, where)
        _check_depth(image, where)
        if sorted(image.size) != sorted(feature.shape[:2]):
            _check_shape((image.height, image.width, 1), feature.shape, where)
        stored = np.array(ImageOps.exif_transpose(image))[..., None]
    except _BROKEN as error:
        raise _damaged(error, where) from None
    _check_shape(stored.shape, feature.shape, where)
    assert feature.depth is not None
    return metres(stored, feature.depth, where)


def check_encoded(encoded: bytes, feature: Feature, where: str) -> None:
    """Refuse a picture with an unreadable header; its pixels are not decoded.

    Raises:
        DatasetError: as `decode_image` or `decode_depth`.
    """
    try:
        image = _open(encoded, where)
        if feature.depth is not None:
            _check_depth(image, where)
        else:
            _check_rgb(image, encoded, where)
        turned = image.getexif().get(0x0112, 1) >= 5  # these orientations exchange width and height
    except _BROKEN as error:
        raise _damaged(error, where) from None
    width, height = reversed(image.size) if turned else image.size
    _check_shape((height, width, feature.shape[2]), feature.shape, where)


def metres(stored: NDArray[Any], depth: Depth, where: str) -> NDArray[np.float32]:
    """Return stored numbers as float32 metres. A value that is not finite is no reading and becomes 0.

    Raises:
        DatasetError: if their unit is not known, or one is negative or beyond the declared range.
    """
    if depth.unit_m is None:
        raise DatasetError(
            f"{where}: depth of an unknown unit; give --depth-unit mm (or m), data.depth_unit=mm for a training or "
            "its check, in Python depth_unit='mm', or add "
            '"depth_unit": "mm" to the feature\'s "info" in meta/info.json'
        )
    wide = np.asarray(stored, dtype=np.float64)
    wide = np.where(np.isfinite(wide), wide, 0.0) * depth.unit_m
    low, high = depth.low_m or 0.0, np.inf if depth.high_m is None else depth.high_m
    beyond = (wide != 0) & ((wide < low * (1 - 1e-6)) | (wide > high * (1 + 1e-6)))
    if beyond.any():
        raise DatasetError(
            f"{where}: a reading of {wide[beyond][0]:g} m, but the least is {low:g} m and the greatest {high:g} m; "
            "correct the unit or the range in meta/info.json, or write 0 where there is no reading"
        )
    return wide.astype(np.float32)


def metres_of_levels(levels: NDArray[np.uint16], depth: Depth, where: str) -> NDArray[np.float32]:
    """Return levels of a depth video as float32 metres; level 0 is no reading, and becomes 0.

    Raises:
        DatasetError: if they are units, and `metres` refuses them.
    """
    code = depth.code
    if code is None:
        return metres(levels, depth, where)
    share = levels.astype(np.float64) / _TOP_LEVEL
    if code.is_logarithmic:
        low, high = np.log(code.low_m + code.shift_m), np.log(code.high_m + code.shift_m)
        wide = np.exp(low + share * (high - low)) - code.shift_m
    else:
        wide = code.low_m + share * (code.high_m - code.low_m)
    return np.where(levels == 0, 0.0, np.clip(wide, code.low_m, code.high_m)).astype(np.float32)


def rgb_of_numbers(values: NDArray[Any], feature: Feature, where: str, full: float | None = None) -> NDArray[np.uint8]:
    """Return pictures (N, H, W, C) or, where the file declares it, (N, C, H, W) of numbers as (N, H, W, 3) uint8 RGB.

    Args:
        values: the stored values.
        feature: their declaration.
        where: file, column and row, for messages.
        full: what stands for full brightness in floats, 255 or 1. Where it is not known, whole numbers are levels of 0
            to 255, and fractions within [0, 1] are shares of full brightness.

    Raises:
        DatasetError: if they are neither, or of another shape.
    """
    height, width, _ = feature.shape
    first = [(channels, height, width) for channels in (1, 3)] if feature.is_channels_first else []
    if values.shape[1:] in first:
        values = np.moveaxis(values, 1, -1)
    elif values.shape[1:] not in [(height, width, channels) for channels in (1, 3)]:
        raise DatasetError(
            f"{where}: picture of shape {list(values.shape[1:])}, but meta/info.json declares {list(feature.shape)}; "
            "correct it"
        )
    if values.dtype == bool:  # bright or dark, as in a PNG of one bit
        values = values.astype(np.uint8) * np.uint8(255)
    wide = np.asarray(values, dtype=np.float64)
    is_whole = bool((wide == np.round(wide)).all())
    low, high = (float(wide.min()), float(wide.max())) if wide.size else (0.0, 0.0)
    if not np.isfinite(wide).all() or low < 0 or high > 255 or not (is_whole or high <= 1):
        raise DatasetError(
            f"{where}: numbers from {low:g} to {high:g}, which is not a picture of 8 bits; store whole numbers of 0 to "
            "255, or fractions of 0 to 1"
        )
    is_float = np.issubdtype(values.dtype, np.floating)
    if is_float and full is None and is_whole and 0 < high <= 1:
        raise DatasetError(f"{where}: floats that are all 0 or 1, so 1 may be dark or bright; store uint8")
    if is_float and full is not None and (high > full or (full > 1 and not is_whole)):
        usual = "levels of 0 to 255" if full > 1 else "fractions of 0 to 1"
        raise DatasetError(
            f"{where}: numbers from {low:g} to {high:g}, though the column's first pictures are {usual}; store all of "
            "them in one way"
        )
    are_shares = not is_whole if full is None or not is_float else full == 1
    levels = (np.round(wide * 255) if are_shares else wide).astype(np.uint8)
    return np.repeat(levels, 3, axis=-1) if levels.shape[-1] == 1 else levels


def _open(encoded: bytes, where: str) -> Image.Image:
    if not isinstance(encoded, bytes):
        raise DatasetError(f"{where}: no picture but {type(encoded).__name__}; copy the dataset again")
    try:
        image = Image.open(io.BytesIO(encoded))
    except UnidentifiedImageError:
        raise DatasetError(
            f"{where}: damaged image ({len(encoded)} bytes that begin with {encoded[:8]!r}, as no PNG or JPEG does); "
            "store encoded pictures, or copy the dataset again"
        ) from None
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise DatasetError(
            f"{where}: a picture of {height} x {width} pixels, and at most {MOST_PIXELS:,} are read; make it smaller"
        )
    return image


def _check_rgb(image: Image.Image, encoded: bytes, where: str) -> None:
    bits = 16 if encoded.startswith(_PNG_START) and encoded[_PNG_BITS] == 16 else 8
    if image.mode in _DEPTH_MODES or bits == 16:
        raise DatasetError(
            f"{where}: a picture of more than 8 bits ({image.mode}), which is not RGB; store 8 bits, or if it is depth "
            'add "info": {"is_depth_map": true, "depth_unit": "mm"} to its entry in meta/info.json'
        )
    if image.mode not in _RGB_MODES:
        raise DatasetError(f"{where}: a picture of Pillow's mode {image.mode!r}; store RGB or grey ones")


def _check_depth(image: Image.Image, where: str) -> None:
    if image.mode not in _DEPTH_MODES:
        raise DatasetError(
            f"{where}: a picture of Pillow's mode {image.mode!r} in a depth stream; store one channel of 16 bits or of "
            "floats, or remove is_depth_map from its entry in meta/info.json"
        )


def _check_shape(found: tuple[int, ...], declared: tuple[int, ...], where: str) -> None:
    if found != declared:
        raise DatasetError(
            f"{where}: image of shape {list(found)}, but meta/info.json declares {list(declared)}; correct it"
        )


def _damaged(error: BaseException, where: str) -> DatasetError:
    if isinstance(error, DatasetError):
        return error
    return DatasetError(f"{where}: damaged image ({error}); copy the dataset again")
