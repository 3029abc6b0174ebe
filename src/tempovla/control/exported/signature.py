"""Inputs and outputs of an exported policy: names, shapes and types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch

from tempovla.data.layout import MOST_PIXELS
from tempovla.storage.json_files import shown
from tempovla.timeline import Bundle
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY, is_outcome
from tempovla.transform.join import joins_of

SEED, DECISION = "seed", "decision"
"""Inputs that a decision's noise follows from, as in `NoiseState`: the row's seed, and how many decisions were made."""

FIRST, EXECUTED, EXECUTED_VALID = "first", "executed_actions", "executed_valid"
"""Inputs of a policy that remembers: the rows whose episode begins, which forget what they know; and, where it reads
them, the actions that were executed since its last decision, in the robot's units, and the rows in which they are
known."""

DTYPES = ("uint8", "float32", "int64", "int32", "bool", "float64")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: for observations the key of the stream.
        shape: behind the batch, which may have any size.
        dtype: `uint8`, `float32` or `int64`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type in torch."""
        return cast(torch.dtype, getattr(torch, self.dtype))

    @property
    def is_depth(self) -> bool:
        """Whether an observation is depth, (1, H, W) floats."""
        return self.dtype == "float32" and len(self.shape) == 3

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form; `from_json` reads it back."""
        return {"name": self.name, "shape": ["batch", *self.shape], "dtype": self.dtype}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TensorSpec:
        """Read what `to_json` wrote.

        Raises:
            KeyError: if the type is none of these.
            ValueError: if the name is no text, or the shape no list of whole numbers behind the batch.
        """
        shape, name = data["shape"], data["name"]
        if not isinstance(name, str):
            raise ValueError(f"name of an input or output is {shown(name)}, not a text")
        if not isinstance(shape, list) or shape[:1] != ["batch"] or any(type(size) is not int for size in shape[1:]):
            raise ValueError(f"shape of {shown(name)} is {shown(shape)}, not a list of the batch and sizes")
        return cls(name, tuple(shape[1:]), {name: name for name in DTYPES}[data["dtype"]])


def vector_sizes(bundle: Bundle) -> dict[str, int]:
    """Return dimensions of the vectors that a policy observes, by the names that they have in its dataset."""
    sizes = {STATE_KEY: bundle.embodiment.state_dim}
    for join in joins_of(bundle.transform):
        own = {part.key: part.size for forms in join.forms.values() for part in forms[0]}
        sizes = {key: size for key, size in sizes.items() if key not in join.forms} | own
    named = {window.key for window in bundle.windows}
    return {key: size for key, size in sizes.items() if key in named}


def camera_keys(bundle: Bundle) -> tuple[str, ...]:
    """Return the streams of pictures that a policy reads, blank ones included."""
    others = {ACTION_KEY, *vector_sizes(bundle), *depth_keys(bundle)}
    return tuple(window.key for window in bundle.windows if window.key not in others and not is_outcome(window.key))


def depth_keys(bundle: Bundle) -> tuple[str, ...]:
    """Return the streams of depth that a policy reads, blank ones included."""
    steps = (step for step in bundle.transform["steps"] if step["name"] == "resize_depth")
    return tuple(key for step in steps for key in step["keys"])


def _size(shape: Any, said_of: str) -> tuple[int, int]:
    """Height and width of a shape that the checkpoint holds."""
    size = shape[:2] if isinstance(shape, list) else []
    if len(size) < 2 or not all(type(side) is int and side > 0 for side in size) or math.prod(size) > MOST_PIXELS:
        raise ValueError(f"{said_of}: {shown(shape)} is no size of a picture; give --image_size HEIGHTxWIDTH")
    return size[0], size[1]


def image_shapes(
    provenance: Mapping[str, Any], cameras: tuple[str, ...], given: Mapping[str, tuple[int, int]] | None = None
) -> dict[str, tuple[int, int]]:
    """Return the height and width of every camera's raw pictures [px]: those given, else those of the dataset.

    Args:
        provenance: of the checkpoint.
        cameras: keys of the streams of pictures, and of depth.
        given: by a camera's key or the end of it; the empty name stands for all others.

    Raises:
        ValueError: if a name is no camera's, or nobody knows.
    """
    given = dict(given or {})
    recorded = provenance.get("image_shapes", {})
    recording = provenance.get("recording", {})
    side = recording.get("image_size") if isinstance(recording, Mapping) else None
    shapes: dict[str, tuple[int, int]] = {}
    for camera in cameras:
        name = next((name for name in given if name and (camera == name or camera.endswith(f".{name}"))), "")
        if name in given:
            shapes[camera] = given[name]
        elif isinstance(recorded, Mapping) and camera in recorded:
            shapes[camera] = _size(recorded[camera], f"image_shapes of {camera!r}")
        elif side is not None:
            shapes[camera] = _size([side, side], "the recording's image_size")
        else:
            raise ValueError(
                f"the checkpoint does not say how large the pictures of {camera!r} are; give --image_size HEIGHTxWIDTH"
            )
    unknown = [name for name in given if name and not any(c == name or c.endswith(f".{name}") for c in cameras)]
    if unknown:
        raise ValueError(f"image_size names {unknown}, but the policy's cameras are {list(cameras)}; name those")
    return shapes


def parse_image_size(text: str) -> dict[str, tuple[int, int]]:
    """`64`, `480x640` (height, width) or `front=480x640,wrist=128`, as `image_shapes` takes it.

    Raises:
        ValueError: if it is none of these.
    """
    shapes = {}
    for part in text.split(","):
        name, _, size = part.strip().rpartition("=")
        sides = [int(side) if side.strip().isdecimal() else 0 for side in size.lower().split("x")]
        if len(sides) > 2 or min(sides) < 1 or name in shapes:
            raise ValueError(f"image_size {text!r} is not readable; write 64, 480x640 or front=480x640,wrist=128")
        shapes[name] = (sides[0], sides[-1])
    return shapes
