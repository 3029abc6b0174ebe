"""Pictures in either order of axes and of either scale become the same frames; what could be both is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tempovla.control.pictures import as_frames

LEVELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
LEVELS[0, 0], LEVELS[0, 1] = 0, 255
SHARES = LEVELS.astype(np.float32) / 255


@pytest.mark.parametrize("given", [LEVELS, SHARES, SHARES.astype(np.float64), LEVELS.transpose(2, 0, 1)])
def test_every_form_of_a_picture_gives_its_levels(given):
    np.testing.assert_array_equal(as_frames("front", given), LEVELS)
    np.testing.assert_array_equal(as_frames("front", SHARES.transpose(2, 0, 1)), LEVELS)


def test_a_batch_is_read_as_its_pictures_are():
    batch = np.stack([SHARES, SHARES[::-1]]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(as_frames("front", batch), np.stack([LEVELS, LEVELS[::-1]]))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.zeros((3, 9, 3), np.uint8), r"'front', \(3, 9, 3\) uint8, has three entries in two of its axes"),
        (np.zeros((8, 9, 4), np.uint8), r"\(8, 9, 4\) uint8, has no axis of three colours"),
        (np.zeros((8, 9, 1), np.uint8), "has no axis of three colours"),
        (np.zeros((8, 9, 3), np.int64), r"is \(8, 9, 3\) int64"),
        (LEVELS.astype(np.float32), "has floats from 0 to 255"),
        (SHARES - 0.5, "has floats from -0.5 to 0.5"),
        (np.where(SHARES > 0.5, np.nan, SHARES), "holds nan"),
        (np.where(SHARES > 0.5, np.inf, SHARES), "holds inf"),
    ],
)
def test_what_cannot_be_told_apart_or_is_no_picture_is_refused_with_the_two_forms(given, told):
    with pytest.raises(ValueError, match=told) as refused:
        as_frames("front", given)
    assert "give (height, width, RGB) uint8, or (RGB, height, width) floats from 0 to 1" in str(refused.value)
    assert "\n" not in str(refused.value)
