"""Scenes of the driving simulator in nuScenes' format: what is read is what was observed."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.in_process import simulators_in_process
from tests.small_town import NEEDS, SMALL

from tempovla.env.registry import simulator_name
from tempovla.recipe.collection.collect import Collection
from tempovla.timeline.driving import IMU_KEY, LIDAR_KEY, LIGHT_KEY, LIGHT_RANGE_M, LIGHT_STATES, RADAR_KEY
from tempovla.timeline.keys import ACTION_KEY, DEPTH_KEY_PREFIX, POSE_KEY, STATE_KEY

pytestmark = pytest.mark.sim
for name in NEEDS:
    pytest.importorskip(name, reason=f"{name} is not installed: pip install -e '.[driving]'")

CONFIG = replace(
    SMALL, seconds=2.0, cameras=("front", "back"), depth=True, lidar=True, radar=True, imu=True, push_rate=0.4
)
DEPTHS = tuple(DEPTH_KEY_PREFIX + camera for camera in CONFIG.cameras)


def collection(scenes: int) -> Collection:
    return Collection(CONFIG, ("day", "night"), episodes=1, seed=3, scenes=scenes)


def test_a_run_that_ended_before_its_first_scene_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tempovla.recipe.collection import driving

    def ended(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(driving, "map_mask", lambda town: np.zeros((4, 4), np.uint8))
    monkeypatch.setattr(driving, "_played", ended)
    for _ in range(2):  # the second one is not refused
        with pytest.raises(KeyboardInterrupt):
            driving.collect_driving(tmp_path, collection(1))
    assert json.loads((tmp_path / "v1.0-mini" / "scene.json").read_text()) == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    from tempovla.recipe.collection.driving import collect_driving

    with simulators_in_process(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEMPOVLA_CACHE", str(tmp_path_factory.getbasetemp().parent / "towns"))
        path = tmp_path_factory.mktemp("city") / "data"
        collect_driving(path, collection(1), workers=1)
        first = (path / "can_bus" / "scene-0001_pose.json").stat().st_mtime_ns
        results = collect_driving(path, collection(2), workers=1)  # goes on with it
        assert (path / "can_bus" / "scene-0001_pose.json").stat().st_mtime_ns == first
        assert set(results["tasks"]) == {"day", "night"}
        yield path


def test_what_is_read_is_what_was_observed(folder: Path) -> None:
    from tempovla.data.nuscenes.source import open_nuscenes

    source = open_nuscenes(folder)
    record = json.loads((folder / "collect.json").read_text())["scenes"]
    assert [scene["task"] for scene in record.values()] == ["day", "night"]
    assert len(source) == 2
    assert source.recording["simulator"] == simulator_name(CONFIG)
    assert source.recording["image_width"] == CONFIG.image_width
    assert "push_rate" not in source.recording  # an evaluation does not push unless it is told to
    assert source.episode(0).length == 4
    env = replace(CONFIG, terminate_on_success=False, max_steps=5).make()
    seen, _ = env.reset(seed=record["scene-0001"]["seed"], options={"task": "day"})
    expert = env.expert()
    for step in range(4):
        for key in (LIDAR_KEY, RADAR_KEY, IMU_KEY, STATE_KEY, POSE_KEY):
            reading = source.read(0, key, [step])
            assert reading.valid.all()
            read, observed = (np.asarray(value, np.float64) for value in (reading.value[0], seen[key]))
            if read.ndim == 2:
                read, observed = (rows[~np.isnan(rows).any(axis=1)] for rows in (read, observed))
            np.testing.assert_allclose(read, observed, atol=2e-5, err_msg=f"{key} at step {step}")
        for key in DEPTHS:
            reading = source.read(0, key, [step])
            assert reading.valid.all()
            near = seen[key] < 255.9
            assert near.mean() > 0.2
            np.testing.assert_allclose(reading.value[0][near], seen[key][near], atol=1 / 512 + 1e-4)
            assert not reading.value[0][~near & (seen[key] > 256.1)].any()
        noted = json.loads((folder / "can_bus" / "scene-0001_tempovla_next_light.json").read_text())[step]
        assert noted == env.next_light
        shown = "none" if noted is None or noted["distance_m"] > LIGHT_RANGE_M else noted["state"]
        light = source.read(0, LIGHT_KEY, [step])
        assert light.valid.all()
        assert LIGHT_STATES[int(light.value[0, 0])] == shown
        start = env.now.car
        env.advance(expert.act())
        seen = env.observe()
        action = source.read(0, ACTION_KEY, [step])
        assert bool(action.valid[0]) == (step < 3 and not env.perturbed)
        if step < 3:
            from tempovla.env.driving.car import motion_between

            np.testing.assert_allclose(action.value[0], motion_between(start, env.now.car), atol=1e-5)
    env.close()


def test_the_words_of_a_step_are_those_of_the_navigator(folder: Path) -> None:
    from tempovla.timeline.driving import COMMANDS

    told = json.loads((folder / "can_bus" / "scene-0002_tempovla_commands.json").read_text())
    assert len(told) == 4
    assert set(told) <= set(COMMANDS)
    facts = json.loads((folder / "can_bus" / "scene-0002_tempovla_condition.json").read_text())
    assert facts == "night"


def test_the_map_says_where_the_car_may_be(folder: Path) -> None:
    from PIL import Image

    mask = np.asarray(Image.open(next((folder / "maps").glob("*.png"))))
    poses = json.loads((folder / "can_bus" / "scene-0001_pose.json").read_text())
    for row in poses[::50]:
        x, y, _ = row["pos"]
        assert mask[int(mask.shape[0] - y * 10), int(x * 10)] == 255
    assert 0.02 < (mask == 255).mean() < 0.5


def test_another_request_is_refused_in_its_folder(folder: Path) -> None:
    from tempovla.recipe.collection.driving import collect_driving

    other = Collection(replace(CONFIG, image_width=64), ("day", "night"), episodes=1, seed=3, scenes=2)
    with pytest.raises(ValueError, match="image_width was 56, and is 64 now"):
        collect_driving(folder, other, workers=1)


def test_boxes_have_the_points_that_are_on_them(folder: Path) -> None:
    annotations = json.loads((folder / "v1.0-mini" / "sample_annotation.json").read_text())
    assert annotations
    assert all(one["num_lidar_pts"] + one["num_radar_pts"] >= 0 for one in annotations)
    assert any(one["num_lidar_pts"] > 10 for one in annotations)
    assert {one["visibility_token"] for one in annotations} <= {"1", "2", "3", "4"}
