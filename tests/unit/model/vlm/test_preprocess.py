"""Pictures become squares as transformers' image processors make them."""

from __future__ import annotations

import pytest
import torch
from tests.tiny_models import image_processor, pictures, smooth_pictures

from tempovla.model.vlm.preprocess import processor_scale, processor_size, resize_square, unit_pixels

SHAPES = [(24, 24), (48, 64), (65, 47), (20, 17), (100, 31)]


@pytest.mark.parametrize(("kind", "policy"), [("siglip", "stretch"), ("clip", "crop")])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_resizing_is_that_of_the_image_processor_to_a_rounding(kind, policy, height, width):
    processor = image_processor(kind)
    processor.do_normalize = False

    def worst(image: torch.Tensor) -> tuple[float, float]:
        expected = processor(image[0].numpy(), return_tensors="pt", input_data_format="channels_first").pixel_values
        ours = resize_square(unit_pixels(image), 24, policy)
        assert ours.shape == expected.shape == (1, 3, 24, 24)
        difference = 255 * (ours - expected).abs()
        return float(difference.max()), float(difference.mean())

    # Pillow rounds to whole bytes after each of two passes, and cuts off in both what is beyond white and black.
    assert worst(smooth_pictures(height, width))[0] <= 1.1
    largest, mean = worst(pictures(1, 3, height, width))
    assert largest <= 10
    assert mean <= 0.4


def test_padding_keeps_all_that_is_seen_in_the_middle_of_grey():
    wide = torch.ones(1, 3, 8, 16)
    padded = resize_square(wide, 16, "pad")
    assert padded[0, 0, :, 3].tolist() == [0.5] * 4 + [1.0] * 8 + [0.5] * 4  # no resizing, so to the bit
    tall = resize_square(torch.ones(1, 3, 32, 16), 8, "pad")
    assert tall[0, 0, 3].tolist() == pytest.approx([0.5, 0.5, 1, 1, 1, 1, 0.5, 0.5])


def test_bytes_and_their_fractions_are_the_same_picture():
    image = pictures(2, 3, 9, 11)
    assert torch.equal(unit_pixels(image), unit_pixels(image / 255.0))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((1, 3, 4, 4), 255.0), r"float images span \[255, 255\], not \[0, 1\]; divide by 255 or give uint8"),
        (-torch.ones(1, 3, 4, 4), r"float images span \[-1, -1\], not \[0, 1\]"),
        (torch.ones(1, 3, 4, 4, dtype=torch.int64), r"images of torch.int64 are neither uint8"),
    ],
)
def test_pictures_of_another_range_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        unit_pixels(image)


@pytest.mark.parametrize(("name", "value"), [("image_mean", 1e30), ("image_std", 0), ("image_std", 1e30)])
def test_scales_with_which_nothing_learns_are_refused_by_name(name, value):
    settings = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3} | {name: [0.5, value, 0.5]}
    with pytest.raises(ValueError, match=rf"vision model 'm': .* has {name} .*, where models have numbers from"):
        processor_scale("m", settings)


@pytest.mark.parametrize("mean", [[0.1, 0.2], [0.1, 0.2, "x"], [0.1, 0.2, float("nan")], "abc", None])
def test_settings_that_are_no_scale_are_refused_by_name(mean):
    with pytest.raises(ValueError, match=r"vision model 'm': .* has image_mean .*, not three numbers;"):
        processor_scale("m", {"image_mean": mean, "image_std": [1, 1, 1]})
    assert processor_scale("m", {"image_mean": [0, 0, 0], "image_std": [1, 0.5, 1]}) == ((0, 0, 0), (1, 0.5, 1))


@pytest.mark.parametrize("size", [0, -1, 10**9, "24", {"height": 10**9}])
def test_a_size_that_no_model_sees_is_refused_by_name(size):
    with pytest.raises(ValueError, match=r"vision model 'm': its image processor names no size from 1 to 4096;"):
        processor_size("m", {"size": size})
    assert processor_size("m", {"size": {"shortest_edge": 24}}) == 24
