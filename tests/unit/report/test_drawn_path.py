"""Lines over pictures: where they lie, how they fade, and what they leave alone."""

import numpy as np

from tempovla.report.drawn_path import FAINTEST, PATH_COLOUR, draw_path

COLOUR = np.array(PATH_COLOUR)


def grey(height: int = 20, width: int = 30) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def test_a_line_covers_the_pixels_along_its_way_alone():
    picture = grey()
    draw_path(picture, np.array([[5.0, 10.0], [25.0, 10.0]]), width_px=2.0)
    assert (picture[9:11, 5:25] == COLOUR).all()
    assert (picture[:8] == 100).all()
    assert (picture[12:] == 100).all()
    assert (picture[:, :3] == 100).all()


def test_its_colour_fades_to_the_end():
    picture = grey()
    draw_path(picture, np.array([[2.0, 10.0], [10.0, 10.0], [20.0, 10.0], [28.0, 10.0]]))
    for column, share in ((6, 1.0), (15, (1 + FAINTEST) / 2), (25, FAINTEST)):
        np.testing.assert_allclose(picture[10, column], 100 + share * (COLOUR - 100), atol=1)


def test_points_outside_and_unknown_ones_change_nothing():
    picture = grey()
    draw_path(picture, np.array([[-50.0, -50.0], [-40.0, 90.0], [np.nan, np.nan], [10.0, 10.0]]))
    assert (picture == 100).all()
    draw_path(picture, np.array([[10.5, 10.5], [10.5, 10.5]]), width_px=1.0)  # a hand that stays is a point
    assert (picture[10, 10] == COLOUR).all()
    assert (picture != 100).any(axis=2).sum() == 1
