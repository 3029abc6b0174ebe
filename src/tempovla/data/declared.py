"""The columns that ``meta/info.json`` declares: types of readable ones, and reasons why others are left out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from tempovla.data.errors import DatasetError
from tempovla.data.layout import BOOKKEEPING, MOST_PIXELS, DatasetMeta, Depth, DepthCode, Feature
from tempovla.data.numbers import number
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY

DEPTH_UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}
"""Metres of one unit."""

_PICTURE_DTYPES = ("video", "image")
_DEPTH_TYPES = ("uint16", "float16", "float32", "float64", "int32", "int64", "uint32")


def parse_features(info: Mapping[str, Any], path: Path) -> tuple[dict[str, Feature], dict[str, str]]:
    """Read the entries of ``info.json`` under ``features``.

    A state or an action of whole numbers is read as float32, and one of shape (1, 7) or (7, 1) as a vector, as policies
    need it.

    Args:
        info: content of the file.
        path: the file, for messages.

    Returns:
        The columns that can be read, by key; and why each of the others is left out.

    Raises:
        DatasetError: if there are no entries at all.
    """
    entries = info["features"]
    if not isinstance(entries, Mapping):
        raise DatasetError(f"{path}: features is {entries!r}, not an object; restore the file")
    features: dict[str, Feature] = {}
    left_out: dict[str, str] = {}
    for key, entry in entries.items():
        try:
            features[key] = _feature(key, entry)
        except ValueError as error:
            left_out[key] = f"{path} {error}"
    for key in BOOKKEEPING:  # every dataset has these columns, whatever it says of them
        left_out.pop(key, None)
        if key in entries and (key not in features or features[key].shape != (1,)):
            features[key] = Feature("float32" if key == "timestamp" else "int64", (1,))
    return features, left_out


def names_problem(entry: Any, shape: tuple[int, ...]) -> str | None:
    """Why the names of the dimensions are not used, where there are some; None where nothing is wrong with them."""
    names = entry.get("names") if isinstance(entry, Mapping) else None
    is_of_axes = len(shape) > 1 and isinstance(names, list) and len(names) == len(shape)
    if names is None or is_of_axes or parse_names(names, shape):
        return None
    return f"names {json.dumps(names)} are not one name for each of {math.prod(shape)} dimensions, so they are not used"


def parse_names(names: Any, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the dimensions; none where they are not one a dimension.

    They come as a list, as a list of lists, as an object of lists such as ``{"motors": [...]}`` or as an object of
    positions such as ``{"x": 0, "y": 1}``, which gives the order.
    """
    leaves = list(_leaves(names))
    positions = [_is_int(place) for _, place in leaves]
    if any(positions) and not all(positions):
        return ()
    if all(positions):
        places = sorted((place, name) for name, place in leaves)
        flat = [name for _, name in places] if [place for place, _ in places] == list(range(len(leaves))) else []
    else:
        flat = [name for _, name in leaves]
    if len(flat) != math.prod(shape) or not all(isinstance(name, str) for name in flat):
        return ()
    return tuple(flat)


def parse_unit(text: str) -> float:
    """Return the metres of one unit of a depth picture, from ``m``, ``cm``, ``mm`` or a number of metres such as
    ``0.0001``.

    Raises:
        DatasetError: if it is none of these.
    """
    try:
        metres = DEPTH_UNITS.get(text) or float(text)
    except ValueError:
        metres = math.nan
    if not (math.isfinite(metres) and metres > 0):
        raise DatasetError(f"depth unit {text!r}; give m, cm, mm or the metres of one unit, such as 0.001")
    return metres


def with_depth_unit(meta: DatasetMeta, unit: str) -> DatasetMeta:
    """Return the metadata with a unit for the depth pictures that have none.

    Raises:
        DatasetError: if it is no unit, or a depth declares another one.
    """
    metres = parse_unit(unit)
    if not any(feature.depth and not feature.depth.code for feature in meta.features.values()):
        raise DatasetError(
            f"{meta.root}: depth unit {unit!r}, but no depth of the dataset needs one; leave the option out"
        )
    features = dict(meta.features)
    for key, feature in meta.features.items():
        if feature.depth is None or feature.depth.code is not None:
            continue
        if feature.depth.unit_m not in (None, metres):
            raise DatasetError(
                f"{meta.root}: depth unit {unit!r}, but meta/info.json gives {key!r} one of {feature.depth.unit_m:g} "
                "m; leave the option out, or correct the file"
            )
        features[key] = replace(feature, depth=replace(feature.depth, unit_m=metres))
    return replace(meta, features=features)


def is_flagged_depth(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry declares that its pictures hold distances."""
    info = _picture_info(entry)
    return any(info.get(name) in (True, "true", "True") for name in ("is_depth_map", "video.is_depth_map"))


def _feature(key: str, entry: Any) -> Feature:
    """One column.

    Raises:
        ValueError: if it cannot be read, saying why.
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get("dtype"), str):
        raise ValueError(f"gives {key!r} no dtype: {entry!r}; correct it")
    dtype = entry["dtype"]
    if dtype == "string":
        raise ValueError(f"declares {key!r} as text, which no stream holds; encode it as numbers to read it")
    shape = _shape(key, entry)
    info, flagged = _picture_info(entry), is_flagged_depth(entry)
    if math.prod(shape) > 3 * MOST_PIXELS:
        raise ValueError(f"gives {key!r} the shape {list(shape)}, more than any camera or sensor has; correct it")
    if dtype in _PICTURE_DTYPES or dtype == "depth":
        if not flagged and dtype != "depth":
            axis = _channel_axis(shape, entry.get("names"), (1, 3))
            if axis is None:
                raise ValueError(f"gives camera {key!r} the shape {list(shape)}; make it one or three channels")
            height, width = shape[:2] if axis == 2 else shape[1:]
            return Feature(dtype, (height, width, 3), is_channels_first=axis == 0)
        if dtype == "video":
            return Feature("video", _depth_shape(key, shape), depth=_video_depth(key, info))
        return Feature("image", _depth_shape(key, shape), depth=_depth(key, info))
    number = _number_type(key, dtype)
    is_named = "depth" in re.split(r"[^a-z]+", key.lower()) and number in _DEPTH_TYPES
    if flagged or (is_named and len(shape) in (2, 3) and min(shape) >= 1 and _is_one_channel(shape)):
        return Feature(number, _depth_shape(key, shape), depth=_depth(key, info))
    if key in (STATE_KEY, ACTION_KEY):
        number = number if np.issubdtype(number, np.floating) else "float32"
        if len(shape) > 1 and max(shape) == math.prod(shape):  # axes of one do not keep it from being a vector
            shape = (max(shape),)
    return Feature(number, shape, parse_names(entry.get("names"), shape))


def _shape(key: str, entry: Mapping[str, Any]) -> tuple[int, ...]:
    shape = entry.get("shape")
    sizes = [shape] if _is_int(shape) else shape
    if not isinstance(sizes, list | tuple) or not all(_is_size(size) for size in sizes):
        raise ValueError(f"gives {key!r} the shape {shape!r}, not a list of positive sizes; correct it")
    return tuple(int(size) for size in sizes) or (1,)


def _number_type(key: str, dtype: str) -> str:
    try:
        number = np.dtype(dtype)
    except TypeError:
        number = np.dtype(object)
    if number.kind not in "biuf" or number.itemsize > 8:
        raise ValueError(f"declares {key!r} with dtype {dtype!r}, which no stream holds; store numbers to read it")
    return number.name


def _picture_info(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an entry says of its pictures; older writers called it `video_info`."""
    parts = [entry.get(name) for name in ("video_info", "info")]
    return {name: value for part in parts if isinstance(part, Mapping) for name, value in part.items()}


def _channel_axis(shape: tuple[int, ...], names: Any, channels: tuple[int, ...]) -> int | None:
    """Which axis of a picture holds its channels, 0 or 2; names tell it where the sizes leave it open."""
    axes = [axis for axis in (2, 0) if len(shape) == 3 and shape[axis] in channels]
    flat = [str(name).lower() for _, name in _leaves(names)]
    told = [axis for axis in axes if len(flat) == 3 and flat[axis].startswith("channel")]
    return next(iter(told or axes), None)


def _is_one_channel(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or 1 in (shape[0], shape[-1])


def _depth_shape(key: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) == 2:
        return shape[0], shape[1], 1
    if len(shape) == 3 and shape[2] == 1:
        return shape[0], shape[1], 1
    if len(shape) == 3 and shape[0] == 1:
        return shape[1], shape[2], 1
    raise ValueError(f"gives depth {key!r} the shape {list(shape)}; depth has one channel; correct it")


def _depth(key: str, info: Mapping[str, Any]) -> Depth:
    unit = info.get("depth_unit", info.get("video.depth_unit"))
    scale = info.get("depth_scale")
    metres = None
    if unit is not None:
        metres = _metres(unit)
        if metres is None:
            raise ValueError(
                f"gives depth {key!r} the unit {unit!r}; give m, cm, mm or the metres of one unit, such as 0.001"
            )
    if scale is not None:  # as RealSense has it: metres of one unit; some others write its inverse
        if not _is_number(scale) or not 0 < scale <= 1:
            raise ValueError(
                f"gives depth {key!r} depth_scale {scale!r}, which must be the metres of one unit, such as 0.001 for "
                "millimetres; correct it"
            )
        if metres is not None and not math.isclose(scale, metres):
            raise ValueError(f"gives depth {key!r} depth_scale {scale!r} and depth_unit {unit!r}; give one of them")
        metres = float(scale)
    low, high = info.get("depth_min"), info.get("depth_max")
    if not all(bound is None or (_is_number(bound) and bound >= 0) for bound in (low, high)):
        raise ValueError(f"gives depth {key!r} the range {low!r} to {high!r}, not metres; correct it")
    return Depth(metres, low, high)


def _metres(unit: Any) -> float | None:
    """Metres of one unit, from its name or a number, which some write as a text; None if it is none of these."""
    if isinstance(unit, str) and _short(unit) in DEPTH_UNITS:
        return DEPTH_UNITS[_short(unit)]
    metres = number(unit)
    return metres if metres is not None and 0 < metres <= 1 else None


def _short(unit: str) -> str:
    """``mm`` of ``mm``, ``MM`` or ``Millimeters``."""
    match = re.fullmatch(r"(milli|centi|)met(?:er|re)s?", unit.strip().lower())
    return {"milli": "mm", "centi": "cm", "": "m"}[match[1]] if match else unit.strip().lower()


def _video_depth(key: str, info: Mapping[str, Any]) -> Depth:
    """Depth in a video is read where its levels are known: raw ones of 16 bits, or the 12 bits that LeRobot writes."""
    low, high, shift, is_logarithmic = (info.get(f"video.{n}") for n in ("depth_min", "depth_max", "shift", "use_log"))
    if low is None and high is None and str(info.get("video.pix_fmt")).startswith("gray16"):
        return _depth(key, info)
    if _is_number(low) and _is_number(high) and _is_number(shift) and isinstance(is_logarithmic, bool):
        code = DepthCode(float(low), float(high), float(shift), is_logarithmic)
        if 0 <= code.low_m < code.high_m and (code.low_m + code.shift_m > 0 or not is_logarithmic):
            return Depth(code=code)
    raise ValueError(
        f"declares {key!r} as depth in a video without the meaning of its levels; store it as 16-bit pictures"
    )


def _leaves(names: Any, name: Any = None) -> Iterator[tuple[Any, Any]]:
    """Every name with what stands beside it: its position in an object of positions, else the name itself."""
    if isinstance(names, Mapping):
        for inner, value in names.items():
            yield from _leaves(value, inner)
    elif isinstance(names, list | tuple):
        for value in names:
            yield from _leaves(value, value)
    elif names is not None or name is not None:
        yield (name if _is_int(names) else names), names


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return (_is_int(value) or (isinstance(value, float) and value.is_integer())) and value > 0


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
