"""Pictures from above: everything lies where it is."""

from __future__ import annotations

import numpy as np
import pytest

from tempovla.report.bird_view import BAND_PX, COLOURS, BirdView, Frame

VIEW = BirdView(height_px=120, width_px=100, ahead_m=40.0, behind_m=20.0)
"""Two pixels a metre."""


def middle(frame: Frame) -> tuple[float, float]:
    """Middle of what is drawn, as row below the words and column."""
    picture = VIEW.draw(frame)
    assert picture.shape == (120 + BAND_PX, 100, 3)
    rows, columns = np.nonzero((picture[BAND_PX:] != COLOURS["background"]).any(axis=2))
    return (rows.min() + rows.max() + 1) / 2, (columns.min() + columns.max() + 1) / 2


def test_ahead_is_up_and_left_is_left():
    assert VIEW.pixels(np.array([0.0, 0.0])).tolist() == [50, 80]
    assert VIEW.pixels(np.array([10.0, 5.0])).tolist() == [40, 60]
    places = VIEW.places()
    assert places.shape == (120, 100, 2)
    np.testing.assert_allclose(VIEW.pixels(places)[7, 3], [3.5, 7.5])


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (Frame(points=np.array([[30.0, -20.0, 1.0], [np.nan] * 3])), (20, 90)),
        (Frame(boxes=np.array([[20.0, 10.0, np.pi / 2, 8.0, 8.0]])), (40, 30)),
        (Frame(ego=np.array([1.0, 0.0, 0.0, 10.0, 6.0])), (78, 50)),
        (Frame(paths=[("predicted", np.array([[0.0, 15.0], [10.0, 15.0]]))]), (70, 20)),
        (Frame(paths=[("true", np.array([[30.0, -5.0]]))]), (20, 60)),
        (Frame(route=np.array([[0.0, -10.0], [20.0, -10.0]])), (60, 70)),
    ],
)
def test_everything_lies_where_it_is(frame, expected):
    assert middle(frame) == pytest.approx(expected, abs=1.5)


def test_the_surface_and_the_words_are_drawn():
    surface = VIEW.places()[..., 1] > 0
    picture = VIEW.draw(Frame(surface=surface, words="Follow the road."))
    below = picture[BAND_PX:]
    assert (below[:, :50] == COLOURS["surface"]).all()
    assert (below[:, 50:] == COLOURS["background"]).all()
    assert (picture[:BAND_PX] == COLOURS["words"]).all(axis=2).any()


def test_lanes_are_as_broad_as_lanes():
    picture = VIEW.draw(Frame(lanes=[np.array([[-20.0, 0.0], [40.0, 0.0]])], lane_width=6.0))
    row = (picture[BAND_PX + 60] == COLOURS["surface"]).all(axis=1)
    assert 10 <= row.sum() <= 14


def test_a_light_has_its_colour():
    picture = VIEW.draw(Frame(lights=[(10.0, 0.0, "red")], route=np.array([[0.0, 20.0], [0.0, 20.0]])))
    assert (picture[BAND_PX + 60, 50] == (230, 60, 50)).all()
