"""Planned paths of the hand, in space and in pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tempovla.env.embodiment import METAWORLD_SAWYER
from tempovla.recipe.evaluation.hand_paths import HandMotion, fixed_cameras, projected
from tempovla.timeline.bodies import LIBERO_PANDA
from tempovla.timeline.calibration import CameraCalibration


def test_displacements_are_added_in_metres():
    motion = HandMotion.of(METAWORLD_SAWYER)
    states, actions = np.array([[0.1, 0.2, 0.3, 1.0]]), np.array([[[1.0, 0.0, -1.0, 1.0], [0.5, 0.0, 0.0, 1.0]]])
    paths = motion.paths(states, actions, stride=2)
    np.testing.assert_allclose(paths, [[[0.1, 0.2, 0.3], [0.12, 0.2, 0.28], [0.13, 0.2, 0.28]]])


def test_bodies_that_do_not_name_both_have_no_path():
    assert HandMotion.of(LIBERO_PANDA) is None
    names = METAWORLD_SAWYER.action_names
    for other in ((), ("hand_dx [rad]", *names[1:]), ("speed [cm]", *names[1:])):
        assert HandMotion.of(replace(METAWORLD_SAWYER, action_names=other)) is None
    assert HandMotion.of(replace(METAWORLD_SAWYER, state_names=names)) is None


def test_a_point_lies_where_the_camera_sees_it():
    turned = ((0.0, -1.0, 0.0, 1.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, -2.0), (0.0, 0.0, 0.0, 1.0))
    camera = CameraCalibration("observation.images.front", 64, 48, 50.0, 60.0, 32.0, 24.0, turned)
    points = np.array([[1.0, 0.0, 0.0], [1.0, 0.4, 0.0], [0.6, 0.0, 0.0], [1.0, 0.0, -3.0]])
    seen = projected(points, camera)
    np.testing.assert_allclose(seen[:3], [[32.0, 24.0], [42.0, 24.0], [32.0, 36.0]])
    assert np.isnan(seen[3]).all()


@pytest.mark.sim
def test_cameras_that_stand_still_are_known_for_each_task():
    metaworld = pytest.importorskip("tempovla.env.metaworld")
    config = metaworld.MetaWorldConfig(cameras=("corner2", "gripperPOV"), image_size=64)
    (camera,) = {c.stream: c for c in fixed_cameras(config, "push-v3") if "images" in c.stream}.values()
    assert (camera.stream, camera.width) == ("observation.images.corner2", 64)
    env = replace(config, task="push-v3", render=False).make()
    env.reset_state(seed=0)
    column, row = projected(env.state[:3], camera)
    assert 16 < column < 48
    assert 16 < row < 48
