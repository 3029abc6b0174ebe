"""Pictures as a pretrained vision model wants them, on tensors and on any device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tempovla.model.vlm.config import ResizePolicy
from tempovla.storage.json_files import shown

LARGEST_SIDE = 4096
"""Of a square that a vision model sees [px]; published ones see up to 1,536."""


def unit_pixels(images: Tensor) -> Tensor:
    """Return float32 [0, 1] of uint8 [0, 255]; floats are taken to be in [0, 1] already.

    Raises:
        ValueError: if float values lie outside (checked on a CPU only, as a check on a GPU would wait for it).
    """
    if images.dtype == torch.uint8:
        return images.float() / 255.0
    if not images.is_floating_point():
        raise ValueError(f"images of {images.dtype} are neither uint8 [0, 255] nor float [0, 1]; convert them")
    if images.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.jit.is_tracing():
        low, high = images.aminmax() if images.numel() else (torch.zeros(()), torch.zeros(()))
        if low < -1e-3 or high > 1 + 1e-3:
            raise ValueError(f"float images span [{low:.3g}, {high:.3g}], not [0, 1]; divide by 255 or give uint8")
    return images.float()


def resize_square(pixels: Tensor, size: int, policy: ResizePolicy) -> Tensor:
    """Return pictures (N, C, H, W) in [0, 1] of any shape as squares (N, C, size, size), bicubic with antialiasing.

    Args:
        pixels: the pictures.
        size: side of the square [px].
        policy: `stretch` changes the shape of what is seen, `crop` fills the square and drops what is beyond it, `pad`
            fits everything in, centred, with grey (0.5) around.
    """
    height, width = pixels.shape[-2:]
    if (height, width) == (size, size):
        return pixels
    if policy == "stretch":
        return _bicubic(pixels, size, size)
    scale = size / (min if policy == "crop" else max)(height, width)
    # Sides are cut to whole pixels as transformers' image processors cut them.
    new_height, new_width = max(1, int(height * scale + 1e-6)), max(1, int(width * scale + 1e-6))
    pixels = _bicubic(pixels, new_height, new_width)
    top, left = (new_height - size) // 2, (new_width - size) // 2
    if policy == "crop":
        return pixels[..., top : top + size, left : left + size]
    around = (-left, size - new_width + left, -top, size - new_height + top)
    return F.pad(pixels, around, value=0.5)


def _bicubic(pixels: Tensor, height: int, width: int) -> Tensor:
    if pixels.shape[-2:] == (height, width):
        return pixels
    # The curve overshoots at edges, where a picture of bytes is cut off.
    return F.interpolate(pixels, (height, width), mode="bicubic", antialias=True).clamp(0.0, 1.0)


def processor_size(name_or_path: str, processor: Mapping[str, Any]) -> int:
    """Return the side of the square that a vision model was made for [px], by its image processor's settings.

    Raises:
        ValueError: if they name none.
    """
    for key in ("crop_size", "size"):
        size = processor.get(key)
        if isinstance(size, Mapping):
            size = size.get("height", size.get("shortest_edge"))
        if isinstance(size, int) and 0 < size <= LARGEST_SIDE:
            return size
    raise ValueError(
        f"vision model {name_or_path!r}: its image processor names no size from 1 to {LARGEST_SIDE}; give one that does"
    )


SMALLEST_STD, LARGEST_SCALE = 1e-6, 1e3
"""Of a processor's mean and standard deviation a channel; beyond, pictures become numbers with which nothing learns."""


def processor_scale(name_or_path: str, processor: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation a channel, by an image processor's settings.

    Raises:
        ValueError: if they are not there.
    """
    try:
        given = processor["image_mean"], processor["image_std"]
    except KeyError as error:
        raise ValueError(
            f"vision model {name_or_path!r}: its image processor has no {error.args[0]}; give one that has"
        ) from None
    for name, values in zip(("image_mean", "image_std"), given, strict=True):
        least = -LARGEST_SCALE if name == "image_mean" else SMALLEST_STD
        if not (isinstance(values, list | tuple) and len(values) == 3 and all(map(_is_finite, values))):
            raise ValueError(
                f"vision model {name_or_path!r}: its image processor has {name} {shown(values)}, not three numbers; "
                "copy its preprocessor_config.json again"
            )
        if not all(least <= value <= LARGEST_SCALE for value in values):
            raise ValueError(
                f"vision model {name_or_path!r}: its image processor has {name} {shown(values)}, where models have "
                f"numbers from {least:g} to {LARGEST_SCALE:g}; copy its preprocessor_config.json again"
            )
    return tuple(given[0]), tuple(given[1])


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
