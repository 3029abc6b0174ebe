from dataclasses import replace

import pytest

from tempovla.model.sensor.calibrations import view_cameras
from tempovla.timeline import CameraCalibration, Embodiment, Task

FRONT, WRIST = "observation.depth.front", "observation.depth.wrist"
POSE = ((1.0, 0.0, 0.0, 0.1), (0.0, 1.0, 0.0, 0.2), (0.0, 0.0, 1.0, 0.3), (0.0, 0.0, 0.0, 1.0))
CAMERA = CameraCalibration(FRONT, 64, 64, 50.0, 50.0, 32.0, 32.0, POSE)
BODY = Embodiment("arm", 2, 1, 10.0, cameras=(CAMERA, replace(CAMERA, stream=WRIST, fx=40.0, pose=None)))


def test_rows_have_the_calibrations_of_their_own_body():
    other = replace(BODY, cameras=(replace(CAMERA, fx=10.0),))
    found = view_cameras([Task("a", BODY), Task("b", other), Task("c", BODY)], [FRONT], (32, 16))
    assert found.intrinsics[:, 0, 0, 0].tolist() == [12.5, 2.5, 12.5]
    assert found.intrinsics[0, 0].tolist() == [[12.5, 0.0, 8.0], [0.0, 25.0, 16.0], [0.0, 0.0, 1.0]]
    assert found.extrinsics[:, 0, :3, 3].tolist() == [pytest.approx([0.1, 0.2, 0.3])] * 3


def test_what_one_view_or_row_lacks_is_none_for_all():
    found = view_cameras([Task("a", BODY)], [FRONT, WRIST], (64, 64))
    assert found.intrinsics[0, :, 0, 0].tolist() == [50.0, 40.0]
    assert found.extrinsics is None
    unknown = view_cameras([Task("a", BODY), Task("a", replace(BODY, cameras=()))], [FRONT], (64, 64))
    assert (unknown.intrinsics, unknown.extrinsics) == (None, None)
    of_base = replace(BODY, cameras=(CAMERA, replace(CAMERA, stream=WRIST, frame="base")))
    assert view_cameras([Task("a", of_base)], [FRONT, WRIST], (64, 64)).extrinsics is None


def test_a_calibration_that_is_needed_and_not_known_is_an_error_of_one_line():
    with pytest.raises(
        ValueError, match=r"'observation\.depth\.top' of 'arm' has no calibration, which .* record"
    ) as e:
        view_cameras([Task("a", BODY)], ["observation.depth.top"], (64, 64), needs_intrinsics=True)
    assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match=r"'observation\.depth\.wrist' of 'arm' has no fixed pose"):
        view_cameras([Task("a", BODY)], [FRONT, WRIST], (64, 64), needs_extrinsics=True)
