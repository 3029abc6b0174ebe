"""Calibrations of MuJoCo's cameras, in a scene made for the purpose."""

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")

from tempovla.env.camera_geometry import camera_calibrations  # noqa: E402

SCENE = """
<mujoco>
  <worldbody>
    <camera name="above" pos="0.1 0.2 1.5" fovy="90"/>
    <body name="stand" pos="0 0 0.3"><camera name="standing" pos="0 0 1"/></body>
    <body name="hand"><freejoint/><geom size="0.1"/><camera name="carried"/></body>
    <camera name="watching" mode="targetbody" target="hand" pos="1 0 1"/>
  </worldbody>
</mujoco>
"""


@pytest.fixture(scope="module")
def scene():
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def test_a_camera_that_looks_down_sees_right_and_down_as_they_are(scene):
    picture, depth = camera_calibrations(*scene, "above", "top", 32, 20.0)
    assert (picture.stream, depth.stream) == ("observation.images.top", "observation.depth.top")
    assert (picture.width, picture.height, picture.fx, picture.cx, picture.rate_hz) == (
        32,
        32,
        pytest.approx(16.0),
        16,
        20,
    )
    expected = [[1, 0, 0, 0.1], [0, -1, 0, 0.2], [0, 0, -1, 1.5], [0, 0, 0, 1]]
    np.testing.assert_allclose(picture.pose, expected, atol=1e-12)
    assert depth.pose == picture.pose


def test_a_turned_picture_turns_the_camera(scene):
    upright, turned = (camera_calibrations(*scene, "above", "top", 32, 20.0, turned=it)[0] for it in (False, True))
    np.testing.assert_allclose(np.array(turned.pose)[:3, :2], -np.array(upright.pose)[:3, :2], atol=1e-12)
    np.testing.assert_allclose(np.array(turned.pose)[:3, 2:], np.array(upright.pose)[:3, 2:], atol=1e-12)


@pytest.mark.parametrize(("camera", "is_fixed"), [("standing", True), ("carried", False), ("watching", False)])
def test_only_a_camera_that_stays_has_a_pose(scene, camera, is_fixed):
    calibration = camera_calibrations(*scene, camera, camera, 8, 20.0)[0]
    assert (calibration.pose is not None) == is_fixed
