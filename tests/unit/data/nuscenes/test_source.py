"""Scenes of nuScenes as episodes: what windows, batches and wrapped sources see of them."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.nuscenes_scenes import START_US, boxes_at, calibrations, ego_at, lidar_points, radar_targets

from tempovla.data.fingerprint import content_hash, dataset_fingerprint
from tempovla.data.formats import format_name
from tempovla.data.identity import identity_of
from tempovla.data.joined import JoinedSource
from tempovla.data.loader import LoaderConfig, SampleLoader, read_windows
from tempovla.data.memory import preload
from tempovla.data.mixture import Mixture
from tempovla.data.nuscenes.around import DrivableArea
from tempovla.data.nuscenes.layout import LIDAR_CHANNEL, RADAR_CHANNELS
from tempovla.data.nuscenes.options import NuScenesOptions
from tempovla.data.nuscenes.poses import inverse, move_points, pose_matrices
from tempovla.data.nuscenes.source import NuScenesSource, open_nuscenes
from tempovla.data.open import open_source
from tempovla.data.selection import Selection
from tempovla.data.window import embodiment_of
from tempovla.timeline import Window
from tempovla.timeline.driving import BOXES_KEY, CAMERA_KEYS, IMU_KEY, LIDAR_KEY, RADAR_KEY, ROAD_KEY
from tempovla.timeline.keys import ACTION_KEY, POSE_KEY, STATE_KEY


def pose_at(time_us: int, seed: int = 0) -> np.ndarray:
    ego = ego_at((time_us - START_US) * 1e-6, seed)
    return pose_matrices(ego.translation, ego.rotation)


def present(points: np.ndarray) -> np.ndarray:
    return points[~np.isnan(points).any(axis=1)]


def newest_us(source: NuScenesSource, channel: str, step_us: int) -> int:
    times = source._scene(0).channels[channel].times_us
    return int(times[times <= step_us + 1000].max())


def test_scenes_beside_the_settings_of_their_simulator_are_still_nuscenes(tmp_path):
    (tmp_path / "v1.0-mini").mkdir()
    (tmp_path / "meta").mkdir()  # which is where LeRobot's datasets keep their metadata
    assert format_name(tmp_path) == "nuscenes"


def test_a_folder_of_nuscenes_is_recognised(jittered_folder: Path):
    assert format_name(jittered_folder) == "nuscenes"
    source = open_source(jittered_folder)
    assert isinstance(source, NuScenesSource)
    assert set(source.streams) == {
        *CAMERA_KEYS,
        LIDAR_KEY,
        RADAR_KEY,
        IMU_KEY,
        BOXES_KEY,
        ROAD_KEY,
        STATE_KEY,
        POSE_KEY,
        ACTION_KEY,
    }
    assert [source.episode(episode).length for episode in range(2)] == [5, 1]
    assert source.episode(0).task == "singapore-onenorth"


def test_rates_are_those_of_the_files(jittered: NuScenesSource):
    rates = {key: jittered.streams[key].rate_hz for key in (CAMERA_KEYS[0], LIDAR_KEY, RADAR_KEY, IMU_KEY, ACTION_KEY)}
    assert list(rates.values()) == pytest.approx([12.0, 20.0, 13.0, 100.0, 2.0], rel=0.1)


def test_lidar_points_lie_in_the_ego_frame_of_the_step(jittered: NuScenesSource):
    mount = calibrations()[LIDAR_CHANNEL]
    for step in range(5):
        step_us = START_US + 500_000 * step
        time_us = newest_us(jittered, LIDAR_CHANNEL, step_us)
        points = lidar_points(time_us)
        in_ego = move_points(pose_matrices(mount.translation, mount.rotation), points[:, :3])
        world = move_points(pose_at(time_us), in_ego)
        expected = move_points(inverse(pose_at(step_us)), world)
        found = present(jittered.read(0, LIDAR_KEY, [step]).value[0])
        np.testing.assert_allclose(found[:, :3], expected, atol=1e-4)
        assert (found[:, 3] == points[:, 3]).all()


def test_radar_targets_lie_in_the_ego_frame_with_their_velocities_over_ground(jittered: NuScenesSource):
    step_us = START_US + 1_000_000
    found = present(jittered.read(0, RADAR_KEY, [2]).value[0])
    assert len(found) == 15
    for number, channel in enumerate(RADAR_CHANNELS):
        time_us = newest_us(jittered, channel, step_us)
        targets = radar_targets(time_us, number)
        mount = calibrations()[channel]
        whole = inverse(pose_at(step_us)) @ pose_at(time_us) @ pose_matrices(mount.translation, mount.rotation)
        places = np.stack([targets["x"], targets["y"], targets["z"]], axis=1)
        speeds = np.stack([targets["vx_comp"], targets["vy_comp"], 0 * targets["vx_comp"]], axis=1)
        own = found[3 * number : 3 * number + 3]
        np.testing.assert_allclose(own[:, :2], move_points(whole, places)[:, :2], atol=1e-4)
        np.testing.assert_allclose(own[:, 2:4], (speeds @ whole[:3, :3].T)[:, :2], atol=1e-4)
        np.testing.assert_allclose(own[:, 4], targets["rcs"], atol=1e-6)


def test_boxes_lie_in_the_ego_frame_of_the_step(jittered: NuScenesSource):
    boxes = jittered.boxes(0, 2)
    world = move_points(pose_at(START_US + 1_000_000), boxes.center)
    np.testing.assert_allclose(world, [box.center for box in boxes_at(1.0)], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(boxes.velocity, axis=1), [3.0, 1.0], atol=0.01)
    assert len(set(boxes.instance)) == 2
    assert jittered.boxes(0, 3).instance == boxes.instance
    assert np.isnan(jittered.boxes(1, 0).velocity).all()


def test_poses_lead_to_the_map(jittered: NuScenesSource):
    area = jittered.drivable(0)
    assert area is not None
    assert area.contains(jittered.ego_poses(0)[:, :2, 3]).all()
    outside = [[100.0, 79.0], [100.0, 161.0], [-1.0, 100.0], [260.0, 100.0], [1e9, -1e9]]
    assert not area.contains(outside).any()


def test_every_pixel_of_a_map_is_found_where_it_lies():
    mask = np.random.default_rng(0).random((5, 19)) < 0.5
    area = DrivableArea.of(mask)
    rows, columns = np.indices(mask.shape)
    places = np.stack([columns, len(mask) - rows], axis=-1) * area.resolution_m
    assert (area.contains(places) == mask).all()
    assert area.shape == mask.shape


def test_a_batch_is_what_single_reads_give(jittered: NuScenesSource):
    episodes, steps = np.array([0, 1, 0]), np.array([[-1, 0], [0, 1], [3, 6]])
    for key in jittered.streams:
        value, valid = jittered.read_many(key, episodes, steps)
        for row, episode in enumerate(episodes.tolist()):
            single = jittered.read(episode, key, steps[row].tolist())
            np.testing.assert_array_equal(value[row], single.value)
            assert valid[row].tolist() == single.valid.tolist()
        assert valid[1, 1] == valid[2, 1] == valid[0, 0] == False  # noqa: E712


def test_larger_clouds_are_thinned_evenly(jittered_folder: Path):
    options = NuScenesOptions(max_lidar_points=16, max_radar_points=4)
    source, whole = open_nuscenes(jittered_folder, options), open_nuscenes(jittered_folder)
    assert source.streams[LIDAR_KEY].shape == (16, 4)
    few, all_points = (present(each.read(0, LIDAR_KEY, [1]).value[0]) for each in (source, whole))
    np.testing.assert_array_equal(few, all_points[np.linspace(0, 39, 16).round().astype(int)])
    assert len(present(source.read(0, RADAR_KEY, [1]).value[0])) == 4


def test_samples_say_which_points_are_there_and_whose_calibration_holds(jittered: NuScenesSource):
    windows = (Window(LIDAR_KEY, (-1, 0)), Window(ACTION_KEY, (0, 1, 2, 3, 4, 5)))
    context, future = read_windows(jittered, windows, np.array([1, 0, 0]), np.array([0, 0, 2]))
    cloud = context.now[LIDAR_KEY]
    assert cloud.element_valid is not None
    assert cloud.element_valid.sum(dim=-1).tolist() == [[40], [40], [40]]
    assert torch.isfinite(cloud.value).all()
    assert context.past[LIDAR_KEY].valid.tolist() == [[False], [False], [True]]
    assert future[ACTION_KEY].valid.sum(dim=1).tolist() == [0, 4, 2]
    focal = [task.embodiment.cameras[0].fx for task in context.task]
    assert focal == [11.0, 10.0, 10.0]
    assert context.task[1] is context.task[2]
    assert [task.embodiment for task in context.task] == [jittered.embodiment_of(episode) for episode in (1, 0, 0)]


def test_sources_that_choose_or_keep_or_rename_have_the_calibrations_of_each_scene(jittered: NuScenesSource):
    renamed = JoinedSource(jittered, {}, {"observation.images.ahead": CAMERA_KEYS[0]})
    camera = embodiment_of(renamed, 1).camera("observation.images.ahead")
    assert camera is not None
    assert camera.fx == 11.0
    assert embodiment_of(Selection(jittered, [1]), 0) == jittered.embodiment_of(1)
    assert embodiment_of(preload(jittered, [STATE_KEY], 1 << 20), 1) == jittered.embodiment_of(1)
    assert embodiment_of(renamed, 0) != embodiment_of(renamed, 1)


def test_cameras_are_calibrated_in_the_ego_frame(jittered: NuScenesSource):
    for camera in jittered.embodiment.cameras:
        assert (camera.width, camera.height, camera.frame) == (16, 8, "base")
    front = jittered.embodiment.camera(CAMERA_KEYS[0])
    assert front is not None
    np.testing.assert_allclose(np.array(front.pose)[:3, :3] @ [0, 0, 1], [1, 0, 0], atol=1e-9)
    assert [camera.stream for camera in jittered.embodiment.cameras] == list(CAMERA_KEYS)


def test_worker_processes_read_the_same(jittered: NuScenesSource):
    windows = (Window(CAMERA_KEYS[0], (0,)), Window(RADAR_KEY, (0,)))
    own, theirs = (
        next(iter(SampleLoader(Mixture([jittered]), windows, LoaderConfig(4, workers, preload_bytes=0), seed=1)))
        for workers in (0, 1)
    )
    for key in (CAMERA_KEYS[0], RADAR_KEY):
        assert torch.equal(own.context.now[key].value, theirs.context.now[key].value)
    again = pickle.loads(pickle.dumps(jittered))
    np.testing.assert_array_equal(again.read(0, LIDAR_KEY, [1]).value, jittered.read(0, LIDAR_KEY, [1]).value)


def test_the_identity_follows_the_files_of_the_streams_that_are_read(folder: Path):
    def told() -> list:
        source = open_nuscenes(folder)
        hashes = [content_hash(source, [key]) for key in (LIDAR_KEY, ACTION_KEY)]
        return [*hashes, *(identity_of(source, [key]).to_json() for key in (LIDAR_KEY, ACTION_KEY))]

    first = told()
    assert told() == first
    path = next(folder.glob("samples/LIDAR_TOP/*"))
    path.write_bytes(path.read_bytes()[:-20])
    second = told()
    assert [one == other for one, other in zip(first, second, strict=True)] == [False, True, False, True]
    path = next(folder.glob("can_bus/*_pose.json"))
    path.write_text(path.read_text().replace("6.0", "7.0"))
    assert [one == other for one, other in zip(second, told(), strict=True)] == [False] * 4
    masked = open_nuscenes(folder, NuScenesOptions(missing="mask"))
    assert dataset_fingerprint(masked, [ACTION_KEY]) != dataset_fingerprint(open_nuscenes(folder), [ACTION_KEY])
