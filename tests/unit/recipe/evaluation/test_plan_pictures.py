"""Which plan lies over which picture."""

from __future__ import annotations

import numpy as np

from tempovla.recipe.evaluation.plan_pictures import LEAST_PX, ViewedPlans
from tempovla.recipe.evaluation.plans import EpisodePlans
from tempovla.report.drawn_path import PATH_COLOUR
from tempovla.report.video import SCALE, enlarged

FRONT = "observation.images.front"


def test_each_picture_has_the_plan_of_the_latest_decision():
    plans = EpisodePlans(4, 0.9, *(np.zeros((2, 1, 1)), np.zeros((2, 1)), np.zeros(2), np.zeros(2)))
    paths = np.array([[[1.0, 2.5], [7.0, 2.5]], [[1.0, 5.5], [7.0, 5.5]]])
    viewed = ViewedPlans(plans, {FRONT: paths})
    pictures = np.full((4, 8, 8, 3), 100, np.uint8)  # of the control steps 0, 2, 4 and 6
    drawn = viewed.drawn(FRONT, pictures, every=2)
    assert drawn.shape == (4, LEAST_PX, LEAST_PX, 3)
    middle, upper, lower = (int(LEAST_PX / 8 * place) for place in (4, 2.5, 5.5))
    assert [tuple(frame[upper, middle]) == PATH_COLOUR for frame in drawn] == [True, True, False, False]
    assert [tuple(frame[lower, middle]) == PATH_COLOUR for frame in drawn] == [False, False, True, True]


def test_other_cameras_are_enlarged_alone():
    plans = EpisodePlans(1, 0.9, *(np.zeros((2, 1, 1)), np.zeros((2, 1)), np.zeros(2), np.zeros(2)))
    pictures = np.random.default_rng(0).integers(0, 256, (2, LEAST_PX // 2, 8, 3), dtype=np.uint8)
    drawn = ViewedPlans(plans, {}).drawn("observation.images.wrist", pictures, every=1)
    np.testing.assert_array_equal(drawn, enlarged(pictures, SCALE))
