from dataclasses import replace

import pytest

from tempovla.timeline import CameraCalibration, Embodiment

BODY = Embodiment("arm", 2, 1, 10.0, ("a", "b"), ("c",))
CAMERA = CameraCalibration("observation.images.front", 64, 48, 50.0, 55.0, 32.0, 24.0)


def test_a_body_without_calibrated_cameras_is_saved_as_before():
    data = BODY.to_json()
    assert "cameras" not in data
    assert Embodiment.from_json(data) == BODY
    assert BODY.camera(CAMERA.stream) is None


def test_calibrations_are_saved_with_the_body():
    body = replace(BODY, cameras=(CAMERA,))
    again = Embodiment.from_json(body.to_json())
    assert again == body
    assert again.camera(CAMERA.stream) == CAMERA
    assert again.camera("observation.images.wrist") is None
    assert hash(again) == hash(body)


def test_a_damaged_calibration_is_refused_by_name():
    data = replace(BODY, cameras=(CAMERA,)).to_json()
    with pytest.raises(ValueError, match=r"embodiment\.cameras\[0\]: keys \['focus'\] are unknown"):
        Embodiment.from_json(data | {"cameras": [data["cameras"][0] | {"focus": 1}]})
    with pytest.raises(ValueError, match=r"calibration of 'observation\.images\.front': fx=-1\.0 must be"):
        Embodiment.from_json(data | {"cameras": [data["cameras"][0] | {"fx": -1.0}]})
    with pytest.raises(ValueError, match=r"is calibrated twice"):
        replace(BODY, cameras=(CAMERA, CAMERA))


def test_other_calibrations_take_the_place_of_those_of_the_same_streams():
    body, wrist = replace(BODY, cameras=(CAMERA,)), replace(CAMERA, stream="observation.images.wrist")
    assert body.with_cameras([]) is body
    assert body.with_cameras([replace(CAMERA, fx=9.0), wrist]).cameras == (replace(CAMERA, fx=9.0), wrist)
