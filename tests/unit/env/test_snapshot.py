"""Moments from above: what is near."""

from __future__ import annotations

import numpy as np

from tempovla.env.snapshot import Snapshot


def test_what_is_far_from_the_car_is_left_out():
    told = {
        "ego": (100.0, 50.0, 0.5),
        "ego_box": np.array([101.0, 50.0, 0.5, 4.0, 1.8]),
        "boxes": np.array([[120.0, 50, 0, 4, 2], [190.0, 50, 0, 4, 2]]),
        "lanes": [np.array([[0.0, 50], [90.0, 50]]), np.array([[0.0, 0], [10.0, 0]])],
        "lights": [(110.0, 60.0, "G"), (110.0, 61.0, "y"), (110.0, 62.0, "O"), (300.0, 60.0, "r")],
        "route": np.array([[30.0, 50.0], [60.0, 50.0], [100.0, 50.0]]),
    }
    seen = Snapshot.of(told)
    assert seen.pose.tolist() == [100.0, 50.0, 0.5]
    assert seen.boxes.tolist() == [[120.0, 50, 0, 4, 2]]
    assert [lane.tolist() for lane in seen.lanes] == [[[0.0, 50.0], [90.0, 50.0]]]
    assert seen.lights == ((110.0, 60.0, "green"), (110.0, 61.0, "yellow"))
    assert seen.route.tolist() == [[60.0, 50.0], [100.0, 50.0]]
