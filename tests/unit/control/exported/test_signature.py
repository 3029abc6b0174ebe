"""Names, shapes and sizes of pictures."""

from __future__ import annotations

import pytest
import torch
from tests.contract.policy_cases import WRIST
from tests.contract.toys import FRONT

from tempovla.control.exported.signature import TensorSpec, image_shapes, parse_image_size

CAMERAS = (FRONT, WRIST)


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("64", {"": (64, 64)}),
        ("480x640", {"": (480, 640)}),
        ("front=480x640, wrist=128", {"front": (480, 640), "wrist": (128, 128)}),
        ("wrist=128,64", {"wrist": (128, 128), "": (64, 64)}),
    ],
)
def test_sizes_are_read(text, shapes):
    assert parse_image_size(text) == shapes


@pytest.mark.parametrize("text", ["", "64x", "64x64x3", "large", "front=", "64,32", "0", "-1", "1.5"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match=r"is not readable; write 64, 480x640 or front=480x640,wrist=128"):
        parse_image_size(text)


def test_pictures_are_as_large_as_is_said_then_as_in_the_dataset_then_as_they_were_recorded():
    dataset = {"image_shapes": {FRONT: [24, 32, 3]}, "recording": {"image_size": 64}}
    assert image_shapes(dataset, CAMERAS) == {FRONT: (24, 32), WRIST: (64, 64)}
    assert image_shapes(dataset, CAMERAS, {"front": (5, 6)}) == {FRONT: (5, 6), WRIST: (64, 64)}
    assert image_shapes(dataset, CAMERAS, {FRONT: (5, 6), "": (7, 8)}) == {FRONT: (5, 6), WRIST: (7, 8)}
    with pytest.raises(ValueError, match=rf"how large the pictures of '{FRONT}' are; give --image_size"):
        image_shapes({}, CAMERAS)
    with pytest.raises(ValueError, match=r"image_size names \['left'\], but the policy's cameras are"):
        image_shapes(dataset, CAMERAS, {"left": (5, 6)})


@pytest.mark.parametrize(
    "shape", [1e308, [24], "yy", [24, -32, 3], [True, 32, 3], [1.5, 32], [1_000_000, 1_000_000, 3], None]
)
def test_a_recorded_size_that_is_none_is_refused(shape):
    with pytest.raises(ValueError, match=rf"image_shapes of '{FRONT}': .* is no size of a picture; give --image_size"):
        image_shapes({"image_shapes": {FRONT: shape}}, (FRONT,))


def test_a_spec_goes_through_json():
    spec = TensorSpec("action", (5, 4), "float32")
    assert spec.to_json() == {"name": "action", "shape": ["batch", 5, 4], "dtype": "float32"}
    assert TensorSpec.from_json(spec.to_json()) == spec
    assert spec.torch_dtype is torch.float32


@pytest.mark.parametrize("shape", ["batch", "%s", None, ["batch", "3"], [2, 3], []])
def test_a_shape_that_is_no_list_of_the_batch_and_sizes_is_refused(shape):
    with pytest.raises(ValueError, match="not a list of the batch and sizes"):
        TensorSpec.from_json({"name": "x", "shape": shape, "dtype": "float32"})
