import json
from dataclasses import replace

import numpy as np
import pytest

from tempovla.data.calibrations import read_cameras, with_cameras
from tempovla.data.convert import convert
from tempovla.data.errors import DatasetError
from tempovla.data.inspection import inspect
from tempovla.data.joined import JoinedSource
from tempovla.data.lerobot import open_dataset
from tempovla.data.memory import preload
from tempovla.data.writer import DatasetWriter, infer_features
from tempovla.report.dataset_tables import dataset_lines
from tempovla.timeline import CameraCalibration

FRONT = "observation.images.front"
POSE = ((1.0, 0.0, 0.0, 0.1), (0.0, 1.0, 0.0, 0.2), (0.0, 0.0, 1.0, 0.3), (0.0, 0.0, 0.0, 1.0))
CAMERA = CameraCalibration(FRONT, 16, 16, 20.0, 20.0, 8.0, 8.0, POSE)
ELSEWHERE = replace(CAMERA, pose=(*POSE[:2], (0.0, 0.0, 1.0, 0.5), POSE[3]))

ENTRY = {"stream": FRONT, "width": 1, "height": 1, "fx": 1, "fy": 1, "cx": 0, "cy": 0}


def steps() -> dict[str, np.ndarray]:
    numbers = np.zeros((3, 2), np.float32)
    return {"observation.state": numbers, "action": numbers, FRONT: np.full((3, 16, 16, 3), 9, np.uint8)}


def recorded(root, *episodes):
    """A dataset with the calibrations of each of its episodes."""
    with DatasetWriter(root, infer_features(steps()), 10.0, robot_type="arm") as writer:
        for cameras in episodes:
            writer.calibrate(cameras)
            writer.add_episode(steps(), "go")
    return open_dataset(root)


def test_a_dataset_gives_its_calibrations_back(tmp_path):
    source = recorded(tmp_path / "data", [CAMERA, replace(CAMERA, stream="observation.images.unseen")], [CAMERA])
    assert source.embodiment.cameras == (CAMERA,)
    assert preload(source, list(source.streams), 1 << 20).embodiment.camera(FRONT) == CAMERA
    info = json.loads((tmp_path / "data" / "meta" / "info.json").read_text())
    assert info["tempovla"]["cameras"][0]["fx"] == 20.0


def test_a_dataset_without_calibrations_has_no_entry_for_them(tmp_path):
    assert recorded(tmp_path / "data", []).embodiment.cameras == ()
    assert "tempovla" not in json.loads((tmp_path / "data" / "meta" / "info.json").read_text())


def test_a_camera_that_moved_between_episodes_has_no_pose(tmp_path):
    assert recorded(tmp_path / "a", [CAMERA], [ELSEWHERE]).embodiment.cameras == (replace(CAMERA, pose=None),)
    assert recorded(tmp_path / "b", [CAMERA], [ELSEWHERE], [CAMERA]).embodiment.camera(FRONT).pose is None
    assert recorded(tmp_path / "c", [CAMERA], []).embodiment.cameras == ()


def test_recording_goes_on_with_the_same_intrinsics_alone(tmp_path):
    root = tmp_path / "data"
    recorded(root, [CAMERA])
    with DatasetWriter(root, infer_features(steps()), 10.0, robot_type="arm", resume=True) as writer:
        with pytest.raises(DatasetError, match=r"data: 'observation\.images\.front' has intrinsics .* give it another"):
            writer.calibrate([replace(CAMERA, fx=30.0)])
        writer.calibrate([ELSEWHERE])
        writer.add_episode(steps(), "go")
    assert open_dataset(root).embodiment.camera(FRONT).pose is None


def test_converted_datasets_keep_calibrations(tmp_path):
    recorded(tmp_path / "data", [CAMERA])
    convert(tmp_path / "data", tmp_path / "copy")
    assert open_dataset(tmp_path / "copy").embodiment.cameras == (CAMERA,)


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ([1], r"info\.json: tempovla is \[1\], not an object"),
        ({"cameras": {}}, r"info\.json: tempovla\.cameras is {}, not a list"),
        ({"cameras": [{"stream": FRONT}]}, r"info\.json.*tempovla\.cameras\[0\]: keys .* are missing"),
        ({"cameras": [ENTRY | {"fx": 0}]}, r"info\.json.*fx=0 must be"),
    ],
)
def test_damaged_calibrations_are_refused_with_the_file(tmp_path, own, told):
    recorded(tmp_path / "data", [CAMERA])
    path = tmp_path / "data" / "meta" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tempovla": own}))
    with pytest.raises(DatasetError, match=told) as error:
        open_dataset(tmp_path / "data")
    assert "\n" not in str(error.value)


def test_other_entries_of_ours_stay():
    info = {"fps": 10, "tempovla": {"notes": "kept"}}
    told = with_cameras(info, [CAMERA])
    assert told["tempovla"]["notes"] == "kept"
    assert read_cameras(told, "info.json") == (CAMERA,)
    assert with_cameras(told, []) == info


def test_an_inspection_tells_the_calibrated_cameras(tmp_path):
    wrist = replace(CAMERA, stream="observation.images.wrist", pose=None)
    features = infer_features(steps() | {wrist.stream: steps()[FRONT]})
    with DatasetWriter(tmp_path / "data", features, 10.0) as writer:
        writer.calibrate([CAMERA, wrist])
        writer.add_episode(steps() | {wrist.stream: steps()[FRONT]}, "go")
    facts = inspect(tmp_path / "data")
    assert [camera["stream"] for camera in facts["cameras"]] == [FRONT, wrist.stream]
    told = dataset_lines(facts).splitlines()
    start = told.index("calibrated cameras:")
    assert told[start + 1 : start + 3] == [
        "  observation.images.front  focal length 20 px of 16, at 0.1, 0.2, 0.3 m in the world's frame",
        "  observation.images.wrist  focal length 20 px of 16, no fixed pose",
    ]
    recorded(tmp_path / "without", [])
    assert "cameras" not in inspect(tmp_path / "without")


def test_a_camera_has_its_calibration_under_every_name(tmp_path):
    source = recorded(tmp_path / "data", [CAMERA])
    renamed = JoinedSource(source, {}, {"observation.images.top": FRONT})
    assert renamed.embodiment.camera("observation.images.top") == replace(CAMERA, stream="observation.images.top")
    assert renamed.embodiment.camera(FRONT) == CAMERA
    assert JoinedSource(source, {}).embodiment == source.embodiment
