from dataclasses import replace

import pytest

from tempovla.timeline.calibration import CameraCalibration, check_cameras, common_cameras
from tempovla.timeline.config import config_from_json, config_to_json

FRONT = "observation.images.front"
POSE = ((0.0, -1.0, 0.0, 0.1), (1.0, 0.0, 0.0, 0.2), (0.0, 0.0, 1.0, 0.3), (0.0, 0.0, 0.0, 1.0))
CAMERA = CameraCalibration(FRONT, 64, 48, 50.0, 55.0, 32.0, 24.0, POSE, rate_hz=30.0)


def test_a_calibration_is_plain_json_and_comes_back():
    data = config_to_json(CAMERA)
    assert data["pose"][0] == [0.0, -1.0, 0.0, 0.1]
    assert config_from_json(CameraCalibration, data) == CAMERA
    assert config_from_json(CameraCalibration, data | {"pose": None}).pose is None
    assert hash(CAMERA) == hash(replace(CAMERA))


def test_intrinsics_scale_with_the_picture():
    assert CAMERA.intrinsics(64, 48) == ((50.0, 0.0, 32.0), (0.0, 55.0, 24.0), (0.0, 0.0, 1.0))
    assert CAMERA.intrinsics(32, 96) == ((25.0, 0.0, 16.0), (0.0, 110.0, 48.0), (0.0, 0.0, 1.0))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"width": 0}, "calibration of 'observation.images.front': width=0 must be a whole number of pixels"),
        ({"height": 4.5}, "height=4.5 must be a whole number of pixels, at least 1"),
        ({"fx": 0.0}, "fx=0.0 must be a number above 0 and below"),
        ({"fy": float("nan")}, "fy=nan must be a number above 0 and below"),
        ({"cx": float("inf")}, "cx=inf must be a number within"),
        ({"rate_hz": -1.0}, "rate_hz=-1.0 must be a number above 0 and below"),
        ({"frame": "hand"}, "frame='hand' is unknown; choose world or base"),
        ({"pose": POSE[:3]}, "is no pose; give the 4 x 4 matrix"),
        ({"pose": (*POSE[:3], (0.0, 0.0, 0.0, float("nan")))}, "is no pose; give the 4 x 4 matrix"),
        ({"pose": ((2.0, 0, 0, 0), *POSE[1:])}, "does not turn and move the camera"),
        ({"pose": (POSE[1], POSE[0], *POSE[2:])}, "does not turn and move the camera"),
        ({"pose": (*POSE[:3], (0.0, 0.0, 1.0, 1.0))}, "does not turn and move the camera"),
    ],
)
def test_what_is_no_calibration_is_refused_in_one_line(wrong, told):
    with pytest.raises(ValueError, match=told) as error:
        replace(CAMERA, **wrong)
    assert "\n" not in str(error.value)


def test_two_calibrations_of_a_stream_are_refused():
    with pytest.raises(ValueError, match=r"cameras: 'observation\.images\.front' is calibrated twice; keep one"):
        check_cameras((CAMERA, replace(CAMERA, fx=1.0)))


def test_what_holds_of_all_episodes_is_kept():
    moved = replace(CAMERA, pose=(*POSE[:2], (0.0, 0.0, 1.0, 0.4), POSE[3]))
    other = replace(CAMERA, stream="observation.images.wrist", pose=None)
    assert common_cameras((CAMERA, other), (other, CAMERA)) == (CAMERA, other)
    assert common_cameras((CAMERA,), (moved,)) == (replace(CAMERA, pose=None),)
    assert common_cameras((replace(CAMERA, pose=None),), (CAMERA,)) == (replace(CAMERA, pose=None),)
    assert common_cameras((CAMERA,), ()) == ()
    assert common_cameras((CAMERA,), (replace(CAMERA, width=128, height=96, fx=100.0, fy=110.0, cx=64, cy=48),))
    with pytest.raises(ValueError, match=r"'observation\.images\.front' has intrinsics .* but others in earlier"):
        common_cameras((CAMERA,), (replace(CAMERA, fx=51.0),))
