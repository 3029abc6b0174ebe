"""Files of single sensors and messages: LiDAR, radar, pictures and the CAN bus."""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tempovla.data.errors import DatasetError
from tempovla.data.image_codec import decode_any_image, decode_depth, encode_depth
from tempovla.data.layout import Depth, Feature
from tempovla.data.nuscenes.layout import DEPTH_FOLDER, DEPTH_UNIT_M, LIDAR_FIELDS, RADAR_DTYPE
from tempovla.storage.json_files import parse_json, read_bytes, read_text, what_it_is

REMEDY = "copy the file again"
JPEG_QUALITY = 92
MOST_CLOUD_BYTES = 256 << 20
MOST_PICTURE_BYTES = 256 << 20

POINT_BYTES = 4 * LIDAR_FIELDS
"""Size of a LiDAR point in a file."""
_NAMES = RADAR_DTYPE.names or ()
_SIZES = [RADAR_DTYPE[name].itemsize for name in _NAMES]
_TYPES = ["F" if RADAR_DTYPE[name].kind == "f" else "I" for name in _NAMES]
_FIRST_LINE = "# .PCD v0.7 - Point Cloud Data file format"
_HEADER = ("VERSION", "FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT", "POINTS", "DATA")
_MOST_HEADER_BYTES = 4096
_PNG_START, _PNG_SIZE = b"\x89PNG", (16, 20)
"""How a PNG begins, and where its width and height are."""
_WHOLE_LIMIT = 1 << 62
"""Whole numbers of files are smaller, so that differences of two of them fit into 64 bits."""


def read_lidar(path: Path) -> NDArray[np.float32]:
    """Return points (N, 5) of a `.pcd.bin` file: x, y, z [m], intensity and ring, in the sensor's frame.

    N may be 0, and points may be NaN.

    Raises:
        DatasetError: if there is no such file, or it is cut short.
    """
    data = read_bytes(path, remedy=REMEDY, error=DatasetError, most_bytes=MOST_CLOUD_BYTES)
    if len(data) % POINT_BYTES:
        raise DatasetError(
            f"{path}: has {len(data)} bytes, not a multiple of the {POINT_BYTES} bytes of a point, so that it is cut "
            f"short or of another format; {REMEDY}"
        )
    return np.frombuffer(data, "<f4").reshape(-1, LIDAR_FIELDS)


def lidar_bytes(points: NDArray[Any]) -> bytes:
    """Return the content of a `.pcd.bin` file of points (N, 5); see `read_lidar`.

    Raises:
        ValueError: if the points have another shape.
    """
    if points.ndim != 2 or points.shape[1] != LIDAR_FIELDS:
        raise ValueError(f"LiDAR points have shape {list(points.shape)}; give (N, 5): x, y, z, intensity and ring")
    return np.ascontiguousarray(points, "<f4").tobytes()


def read_radar(path: Path) -> NDArray[Any]:
    """Return targets (N,) of `RADAR_DTYPE` of a binary `.pcd` file; N is 0 where its first point is NaN, as nuScenes
    writes an empty cloud.

    Raises:
        DatasetError: if there is no such file, its header declares other fields, sizes or types, or it is cut short.
    """
    data = read_bytes(path, remedy=REMEDY, error=DatasetError, most_bytes=MOST_CLOUD_BYTES)
    header, start = _header(data, path)
    for name, wanted in (
        ("FIELDS", _NAMES),
        ("SIZE", map(str, _SIZES)),
        ("TYPE", _TYPES),
        ("COUNT", "1" * len(_NAMES)),
    ):
        _expect(header, name, list(wanted), path)
    _expect(header, "HEIGHT", ["1"], path)
    _expect(header, "DATA", ["binary"], path)
    width = " ".join(header["WIDTH"])
    if not width.isdecimal() or header["POINTS"] != header["WIDTH"]:
        raise DatasetError(
            f"{path}: WIDTH {width} and POINTS {' '.join(header['POINTS'])} must be the same whole number; {REMEDY}"
        )
    wanted_bytes = int(width) * RADAR_DTYPE.itemsize
    if len(data) - start < wanted_bytes:
        raise DatasetError(
            f"{path}: has {len(data) - start} bytes of points, but {width} points take {wanted_bytes}, so that it is "
            f"cut short; {REMEDY}"
        )
    points = np.frombuffer(data, RADAR_DTYPE, count=int(width), offset=start)
    return points[:0] if len(points) and np.isnan([points[0][name] for name in _NAMES]).any() else points


def radar_bytes(points: NDArray[Any]) -> bytes:
    """Return the content of a binary `.pcd` file of targets (N,) of `RADAR_DTYPE`.

    Raises:
        ValueError: if the targets are of another type.
    """
    if points.dtype != RADAR_DTYPE or points.ndim != 1:
        raise ValueError(
            f"radar targets have type {points.dtype} and shape {list(points.shape)}; give (N,) of RADAR_DTYPE"
        )
    if len(points) == 0:  # the format has no empty cloud: a point of NaN stands for it
        points = np.zeros(1, RADAR_DTYPE)
        points["x"] = points["y"] = points["z"] = np.nan
    values = {
        "VERSION": "0.7",
        "FIELDS": " ".join(_NAMES),
        "SIZE": " ".join(map(str, _SIZES)),
        "TYPE": " ".join(_TYPES),
        "COUNT": " ".join("1" * len(_NAMES)),
        "WIDTH": str(len(points)),
        "HEIGHT": "1",
        "VIEWPOINT": "0 0 0 1 0 0 0",
        "POINTS": str(len(points)),
        "DATA": "binary",
    }
    lines = [_FIRST_LINE, *(f"{name} {values[name]}" for name in _HEADER)]
    return "\n".join(lines).encode() + b"\n" + points.tobytes() + b"\n"  # some readers want a byte after the last point


def _header(data: bytes, path: Path) -> tuple[dict[str, list[str]], int]:
    """Words of the header's lines by their first word, and where the points begin."""
    end = data.find(b"\nDATA ", 0, _MOST_HEADER_BYTES)
    start = data.find(b"\n", end + 1, _MOST_HEADER_BYTES) + 1 if end >= 0 else 0
    if not start:
        raise DatasetError(f"{path}: has no header of a PCD file, which ends with a line DATA; {REMEDY}")
    header = {}
    for line in data[:start].decode("ascii", "replace").splitlines():
        if line.strip():
            name, *words = line.split()
            header[name] = words
    missing = [name for name in _HEADER if name not in header]
    if missing:
        raise DatasetError(f"{path}: its PCD header has no {missing[0]}; {REMEDY}")
    return header, start


def _expect(header: dict[str, list[str]], name: str, wanted: list[str], path: Path) -> None:
    if header[name] != wanted:
        raise DatasetError(
            f"{path}: {name} of its PCD header is {' '.join(header[name])}, but nuScenes' radars have "
            f"{' '.join(wanted)}; {REMEDY}"
        )


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) as RGB.

    Raises:
        DatasetError: if there is no such file, or it cannot be decoded.
    """
    data = read_bytes(path, remedy=REMEDY, error=DatasetError, most_bytes=MOST_PICTURE_BYTES)
    return decode_any_image(data, str(path))


def depth_name(picture: str) -> str:
    """Return the name of the file with the distances in a picture, of the picture's name such as
    `samples/CAM_FRONT/x.jpg`.
    """
    path = PurePosixPath(picture)
    return f"{DEPTH_FOLDER}/{path.parent.name}/{path.stem}.png"


def read_depth(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the distances (H, W, 1) in a picture [m]; 0 is no reading.

    Args:
        path: of the file.
        shape: of the result.

    Raises:
        DatasetError: if there is no such file, it cannot be decoded, or it has another size.
    """
    data = read_bytes(path, remedy=REMEDY, error=DatasetError, most_bytes=MOST_PICTURE_BYTES)
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in _PNG_SIZE)
    if data.startswith(_PNG_START) and (height, width) != shape[:2]:
        raise DatasetError(
            f"{path}: has height and width {[height, width]}, but the picture that it belongs to {list(shape[:2])}; "
            f"{REMEDY}"
        )
    return decode_depth(data, Feature("image", shape, depth=Depth(DEPTH_UNIT_M)), str(path))


def depth_bytes(metres: NDArray[Any], size: tuple[int, int]) -> bytes:
    """Return distances (H, W, 1) [m] as PNG; those that are not finite, or further than 255.99 m, are no readings.

    Args:
        metres: 0 where there is no reading.
        size: height and width of the picture that they belong to [px].

    Raises:
        ValueError: if they have another shape, or one of them is negative.
    """
    if metres.shape != (*size, 1) or bool((metres < 0).any()):
        raise ValueError(
            f"depth has shape {list(metres.shape)}; give {[*size, 1]}, as the picture has, and no distance below 0"
        )
    return encode_depth(metres, DEPTH_UNIT_M)


def jpeg_bytes(rgb: NDArray[np.uint8]) -> bytes:
    """Return a picture (H, W, 3) as JPEG, colours at full resolution, for in small pictures a lamp is one pixel.

    Raises:
        ValueError: if it has another shape or type.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise ValueError(f"a picture has shape {list(rgb.shape)} and type {rgb.dtype}; give (H, W, 3) of uint8")
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "jpeg", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def png_bytes(mask: NDArray[np.uint8]) -> bytes:
    """Return a grey picture (R, C) as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "png")
    return buffer.getvalue()


def are_finite(numbers: Any) -> bool:
    """Return whether numbers, or lists of them of one length, are finite as float64; whole ones may be too large."""
    try:
        return bool(np.isfinite(np.array(numbers, dtype=np.float64)).all())
    except OverflowError:
        return False


def is_whole(number: Any) -> bool:
    """Return whether a value of JSON is a whole number whose differences from others fit into 64 bits."""
    return type(number) is int and -_WHOLE_LIMIT < number < _WHOLE_LIMIT


def read_json_list(path: Path, *, most_bytes: int | None = None) -> list[Any]:
    """Return the list in a file of JSON.

    Raises:
        DatasetError: if there is no such file, or it holds something else.
    """
    limit = {} if most_bytes is None else {"most_bytes": most_bytes}
    text = read_text(path, remedy=REMEDY, error=DatasetError, **limit)
    data = parse_json(text, f"{path}:", remedy=REMEDY, error=DatasetError)
    if not isinstance(data, list):
        raise DatasetError(f"{path}: holds {what_it_is(data)}, not a list; {REMEDY}")
    return data
