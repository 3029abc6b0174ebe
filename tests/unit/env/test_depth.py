"""Depth of the simulators: it lies where the calibration says, and turning it on changes nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.sim

pytest.importorskip("metaworld")

from tests.camera_rays import cast, points_in_world  # noqa: E402

from tempovla.env.memory import MemoryConfig  # noqa: E402
from tempovla.env.metaworld import MetaWorldConfig, MetaWorldEnv  # noqa: E402
from tempovla.env.protocol import calibrations_of  # noqa: E402
from tempovla.env.vector import ShardedVectorEnv  # noqa: E402
from tempovla.timeline.keys import DEPTH_KEY_PREFIX, IMAGE_KEY_PREFIX  # noqa: E402

CAMERAS = ("corner2", "corner3", "topview", "gripperPOV")
SMALL = MetaWorldConfig(task="push-v3", image_size=16, supersample=1, cameras=("corner2",))


@pytest.fixture(scope="module")
def env() -> MetaWorldEnv:
    env = MetaWorldEnv(MetaWorldConfig(task="push-v3", cameras=CAMERAS, mesh_cell_m=0.0, depth=True))
    env.reset(seed=3)
    return env


@pytest.fixture(scope="module")
def close() -> MetaWorldEnv:
    """With pixels that are small beside an object."""
    return MetaWorldEnv(
        MetaWorldConfig(task="push-v3", cameras=("corner2", "corner3"), image_size=192, supersample=1, depth=True)
    )


def calibration(env, camera: str):
    return next(one for one in env.calibrations() if one.stream == DEPTH_KEY_PREFIX + camera)


@pytest.mark.parametrize("camera", ["corner2", "corner3", "topview"])
def test_depth_is_what_rays_through_the_pixels_meet(env: MetaWorldEnv, camera: str):
    depth, known = env.draw_depth(camera), calibration(env, camera)
    model, data = env.simulation.model, env.simulation.data
    found = cast(model, data, known, every=4, groups=(0, 1, 2))
    rows, columns = found[:, :2].astype(int).T
    error = np.abs(depth[rows, columns, 0] - found[:, 2])
    assert np.quantile(error, 0.98) < 0.001
    assert (error < 0.001).sum() > 200


@pytest.mark.parametrize("seed", [3, 4, 6])
@pytest.mark.parametrize("camera", ["corner2", "corner3"])
def test_an_object_is_found_where_the_simulator_has_it(close: MetaWorldEnv, camera: str, seed: int):
    """The puck of push: a disc of 2 cm radius, whose top stands 2 cm above its middle."""
    close.reset(seed=seed)
    points = points_in_world(close.draw_depth(camera), calibration(close, camera)).reshape(-1, 3)
    puck = close.simulation.data.body("obj").xpos
    top = puck + np.array([0, 0, 0.02])
    on_top = points[np.linalg.norm(points - top, axis=1) < 0.023]
    on_top = on_top[np.abs(on_top[:, 2] - top[2]) < 0.002]
    assert len(on_top) >= 3
    assert np.abs(on_top.mean(axis=0) - top).max() < 0.01


def test_a_camera_on_the_hand_has_intrinsics_and_no_pose(env: MetaWorldEnv):
    known = calibration(env, "gripperPOV")
    assert known.pose is None
    assert (known.width, known.fx, known.cx) == (64, pytest.approx(32.0), 32.0)
    assert [one.stream for one in env.calibrations()][:2] == [
        IMAGE_KEY_PREFIX + "corner2",
        DEPTH_KEY_PREFIX + "corner2",
    ]


def test_pictures_are_the_same_with_depth_and_without():
    without, _ = SMALL.make().reset(seed=1)
    env = replace(SMALL, depth=True).make()
    first, _ = env.reset(seed=1)
    second = env.observe()  # after the first depth has been drawn
    for observation in (first, second):
        assert list(observation) == [*without, DEPTH_KEY_PREFIX + "corner2"]
        for key, value in without.items():
            np.testing.assert_array_equal(observation[key], value)
    assert first[DEPTH_KEY_PREFIX + "corner2"].shape == (16, 16, 1)
    assert first[DEPTH_KEY_PREFIX + "corner2"].dtype == np.float32
    assert not calibrations_of(SMALL.make())
    assert calibrations_of(env)


def test_depth_is_in_whole_millimetres_and_the_sky_is_no_reading():
    env = MetaWorldEnv(MetaWorldConfig(cameras=("corner2",), depth=True))
    env.reset(seed=0)
    depth = env.draw_depth("corner2")
    levels = np.rint(depth.astype(np.float64) * 1000)
    np.testing.assert_array_equal((levels * 0.001).astype(np.float32), depth)
    assert (depth[:2] == 0).any()
    assert depth.max() < 10


def test_without_rendering_there_is_no_depth():
    observation, _ = replace(SMALL, depth=True, render=False).make().reset(seed=1)
    assert list(observation) == ["observation.state"]


@pytest.mark.parametrize("config", [SMALL, MemoryConfig(image_size=16, supersample=1, cameras=("corner2",))])
def test_workers_show_the_depth_of_a_single_environment(config):
    config = replace(config, depth=True)
    env = ShardedVectorEnv(config, 1, 1)
    try:
        seen, _ = env.reset(seed=[5])
        moved = env.step_chunk(np.full((1, 2, 4), 0.5), record=[0])
    finally:
        env.close()
    alone = config.make()
    first, _ = alone.reset(seed=5)
    assert config.spaces()[0].contains(first)
    np.testing.assert_equal({key: value[0] for key, value in seen.items()}, first)
    for _ in range(2):
        alone.advance(np.full(4, 0.5))
    np.testing.assert_equal({key: value[0] for key, value in moved.observations.items()}, alone.observe())


def test_libero_measures_depth_where_its_cameras_look(libero_assets: Path):
    pytest.importorskip("robosuite")
    from tempovla.env.libero import LiberoConfig, LiberoEnv

    env = LiberoEnv(LiberoConfig(image_size=48, depth=True))
    observation, _ = env.reset(seed=0)
    assert env.config.spaces()[0].contains(observation)
    known, depth = calibration(env, "agentview_rgb"), observation[DEPTH_KEY_PREFIX + "agentview_rgb"]
    model, data = env.simulation.model, env.simulation.data
    found = cast(model, data, known, every=4, groups=(1, 2))
    rows, columns = found[:, :2].astype(int).T
    error = np.abs(depth[rows, columns, 0] - found[:, 2])
    assert np.quantile(error, 0.95) < 0.001
    points = points_in_world(depth, known)[rows, columns]
    on_floor = points[found[:, 3] == model.geom("floor").id]
    assert len(on_floor) > 20
    assert np.abs(on_floor[:, 2] - model.geom("floor").pos[2]).max() < 0.01
    name = env.simulation.objects_of_interest[0]
    place = env.simulation.object_pose(name)[0]
    every = points_in_world(depth, known).reshape(-1, 3)
    assert np.linalg.norm(every - place, axis=1).min() < 0.06  # the surface is half the object's height away
    assert calibration(env, "eye_in_hand_rgb").pose is None
    plain = LiberoEnv(LiberoConfig(image_size=48))
    without, _ = plain.reset(seed=0)
    for key, value in without.items():
        np.testing.assert_array_equal(observation[key], value)
