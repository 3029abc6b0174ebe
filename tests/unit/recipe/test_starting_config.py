"""What is inferred from a dataset for its first config."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import yaml
from tests import foreign, gripper_recordings, libero_recordings, nuscenes_scenes, recordings
from tests.stored_columns import DEPTH, STRUCT, with_column

from tempovla.data.errors import DatasetError
from tempovla.data.layout import Feature
from tempovla.data.writer import DatasetWriter, infer_features
from tempovla.recipe.starting_config import STARTING_SYSTEMS, starting_config
from tempovla.timeline import CameraCalibration


def line_of(text: str, key: str) -> str:
    (line,) = [line for line in text.splitlines() if line.strip().startswith(f"{key}:")]
    return line.strip()


def test_sizes_cameras_and_gripper_are_those_of_the_dataset(tmp_path):
    config = starting_config(gripper_recordings.record(tmp_path / "set"))
    model = config.values["model"]
    assert model["cameras"] == [gripper_recordings.FRONT, gripper_recordings.WRIST]
    assert (model["robot_state_dim"], model["action_dim"], model["has_gripper"]) == (3, 3, True)
    assert config.values["data"] == {"data_directory": str(tmp_path / "set"), "train_split": 1.0}
    assert model["action_horizon"] == 9  # a second would be 10 steps, and no episode has them
    assert model["vlm"]["vision"]["image_size"] == 64


def test_the_text_holds_the_values_and_says_why(tmp_path):
    config = starting_config(gripper_recordings.record(tmp_path / "set", binary_gripper=False))
    assert yaml.safe_load(config.text) == config.values
    assert "4 episodes, 36 steps at 10 Hz, robot toy" in config.text.splitlines()[0]
    assert line_of(config.text, "train_split") == "train_split: 1.0  # too few to hold some out: 4 episodes"
    assert "so it is no gripper in {-1, +1}" in line_of(config.text, "has_gripper")
    assert line_of(config.text, "action_horizon") == (
        "action_horizon: 9  # steps of a chunk; 0.9 s at 10 Hz, as its episodes are short"
    )
    assert "observation.images.front has 24x32" in line_of(config.text, "image_size")


def test_ten_episodes_hold_one_out(tmp_path):
    values = starting_config(gripper_recordings.record(tmp_path / "set", episodes=10)).values
    assert values["data"]["train_split"] == 0.9
    assert values["training"]["validation_interval"] == 100


def test_other_names_of_state_and_action_are_found(tmp_path):
    features = {
        "state": Feature("float32", (3,)),
        "actions.arm": Feature("float32", (2,)),
        "actions.hand": Feature("float32", (1,)),
        recordings.FRONT: Feature("image", (16, 16, 3)),
    }
    recordings.record(tmp_path / "set", features=features)
    found = starting_config(tmp_path / "set")
    assert found.values["data"]["state_key"] == "state"
    assert found.values["data"]["action_key"] == ["actions.arm", "actions.hand"]
    assert found.values["model"]["action_dim"] == 3
    assert "there is no 'action'; this seems to be it" in line_of(found.text, "action_key")
    given = starting_config(tmp_path / "set", action_key="actions.arm[0:1]").values
    assert (given["data"]["action_key"], given["model"]["action_dim"]) == ("actions.arm[0:1]", 1)


def test_streams_that_are_not_read_are_named(tmp_path):
    features = {"proprio": Feature("float32", (3,)), "grip": Feature("float32", (1,))}
    features |= {"actions": Feature("float32", (2,)), recordings.FRONT: Feature("image", (16, 16, 3))}
    recordings.record(tmp_path / "set", features=features)
    text = starting_config(tmp_path / "set").text
    assert "# not read: grip (1); if it belongs to the state, give --state_key proprio,grip" in text
    assert "not read" not in starting_config(tmp_path / "set", state_key="proprio,grip").text


def test_a_dataset_without_a_state_trains_all_but_statevla(tmp_path):
    features = {key: recordings.FEATURES[key] for key in (recordings.ACTION, recordings.WRIST)}
    recordings.record(tmp_path / "set", features=features)
    config = starting_config(tmp_path / "set")
    assert line_of(config.text, "robot_state_dim") == "robot_state_dim: null  # the dataset has no state"
    with pytest.raises(DatasetError, match="has no stream that looks like a state, which StateVLA reads; name it with"):
        starting_config(tmp_path / "set", "statevla")


def test_what_no_policy_can_do_without_is_named(tmp_path):
    recordings.record(tmp_path / "blind", features={key: recordings.FEATURES[key] for key in ("action",)})
    with pytest.raises(DatasetError, match="has no camera, but every policy needs one"):
        starting_config(tmp_path / "blind")
    features = {recordings.FRONT: recordings.FEATURES[recordings.FRONT], "effort": Feature("float32", (2,))}
    recordings.record(tmp_path / "idle", features=features)
    with pytest.raises(DatasetError, match=r"no stream that looks like an action; name it with --action_key.*'effort'"):
        starting_config(tmp_path / "idle")


def test_long_instructions_have_room_and_strange_names_end_no_comment(tmp_path):
    words = "put the red cube, then the blue one, into the\nbox: # on the left of the table"
    action = {"dtype": "float32", "shape": [2], "names": ["x", "y\nmodel: {}"]}
    root = foreign.write_v30(tmp_path / "set", foreign.Foreign(tasks={0: words}, features={"action": action}))
    config = starting_config(root)
    assert config.values["model"]["max_instruction_tokens"] == 17
    assert yaml.safe_load(config.text) == config.values
    assert line_of(config.text, "action_dim") == "action_dim: 2  # dimensions of the action: x, y model: {}"


def test_depth_is_left_out_in_a_comment(tmp_path):
    depth = foreign.encode_image(np.full((foreign.SIDE, foreign.SIDE), 400, dtype=np.uint16))
    entry = {"dtype": "image", "shape": [foreign.SIDE, foreign.SIDE, 1], "info": {"is_depth_map": True}}
    with_depth = with_column(
        DEPTH, entry, lambda _, length: pa.array([{"bytes": depth, "path": None}] * length, STRUCT)
    )
    config = starting_config(foreign.write_v21(tmp_path / "set", with_depth), depth_unit="mm")
    assert config.values["model"]["cameras"] == [foreign.FRONT]
    assert f"# left out: {DEPTH} is depth, which these policies do not read" in config.text
    assert line_of(config.text, "depth_unit") == "depth_unit: mm  # as given"


def test_liberos_files_are_read_as_they_are(tmp_path):
    libero_recordings.record(tmp_path / "set")
    config = starting_config(tmp_path / "set", "statevla", libero_images="upright")
    model = config.values["model"]
    assert (model["robot_state_dim"], model["action_dim"], model["has_gripper"]) == (9, 7, True)
    assert config.values["data"]["libero_images"] == "upright"
    assert model["jepa"]["prediction_horizon"] == 2  # a tenth of a second at 20 Hz
    assert model["action_seq_len"] == 7  # those of the shortest episode, so that it holds a window


@pytest.mark.parametrize("system", STARTING_SYSTEMS)
def test_large_pictures_and_many_cameras_have_room(tmp_path, system):
    cameras = {f"observation.images.c{number}": Feature("image", (144, 8, 3)) for number in range(7)}
    features = {key: recordings.FEATURES[key] for key in (recordings.STATE, recordings.ACTION)} | cameras
    recordings.record(tmp_path / "set", (4, 4), features)
    config = starting_config(tmp_path / "set", system)
    model = config.values["model"]
    assert model["cameras"] == [*cameras]
    if system == "vla":
        assert model["vlm"]["vision"]["image_size"] == 96
        assert model["vlm"]["language"]["architecture"]["max_position_embeddings"] == 512  # 7 times 36 tokens
    if system == "smolvla":
        assert (model["max_state_dim"], model["max_action_dim"]) == (3, 2)


def test_sagr_looks_ahead_by_half_a_chunk(tmp_path):
    config = starting_config(gripper_recordings.record(tmp_path / "set"), "sagr")
    model = config.values["model"]
    assert (model["action_horizon"], model["temporal_delta_k"], model["action_head"]["max_seq_len"]) == (9, 4, 9)
    assert line_of(config.text, "temporal_delta_k").endswith("half a chunk, 0.4 s")
    assert line_of(config.text, "geometry") == "geometry: null  # not every camera has depth with its calibration"


def test_sagr_reads_depth_where_every_camera_has_it_with_its_calibration(tmp_path):
    depth = "observation.depth.front"
    frames = {
        recordings.FRONT: np.zeros((6, 16, 16, 3), np.uint8),
        depth: np.ones((6, 16, 16, 1), np.float32),
        "action": np.zeros((6, 2), np.float32),
    }
    with DatasetWriter(tmp_path / "set", infer_features(frames), 10.0, robot_type="arm") as writer:
        writer.calibrate([CameraCalibration(depth, 16, 16, 14.0, 14.0, 8.0, 8.0)])
        writer.add_episode(frames, "push")
    config = starting_config(tmp_path / "set", "sagr")
    assert config.values["model"]["geometry"]["kind"] == "depth"
    assert "which these policies do not read" not in config.text
    assert starting_config(tmp_path / "set").values["model"].get("geometry") is None


def test_scenes_of_a_car_are_told_of_the_policy_that_reads_their_points(tmp_path):
    folder = nuscenes_scenes.write(tmp_path / "scenes", (2,), nuscenes_scenes.Rates(2.0, 2.0, 2.0))
    text = starting_config(folder).text
    assert "# left out: observation.points.lidar is points; `tempovla train driving --config driving_city` " in text
