"""Offscreen rendering: which backend is taken, what is said without one, and that savings change no pixel."""

import copy
import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.sim

pytest.importorskip("metaworld")

from tempovla.env import rendering  # noqa: E402
from tempovla.env.metaworld import MetaWorldConfig, MetaWorldEnv  # noqa: E402

SELECT = "from tempovla.env.rendering import select_backend; print(select_backend())"
needs_osmesa = pytest.mark.skipif(not rendering._osmesa_works(), reason="OSMesa (Debian: libosmesa6) is not installed")
NO_EGL_DRIVER = {"__EGL_VENDOR_LIBRARY_DIRS": "/nonexistent"}


def select_in_subprocess(code: str = SELECT, **environment: str) -> subprocess.CompletedProcess:
    inherited = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=inherited | paths | environment, capture_output=True, text=True, check=False)


@needs_osmesa
def test_explicit_choice_is_respected() -> None:
    assert select_in_subprocess(MUJOCO_GL="osmesa").stdout.strip() == "osmesa"


@needs_osmesa
def test_osmesa_is_taken_where_egl_finds_no_driver() -> None:
    assert select_in_subprocess(**NO_EGL_DRIVER).stdout.strip() == "osmesa"


@pytest.mark.parametrize(
    ("code", "environment"),
    [
        (SELECT, NO_EGL_DRIVER | {"MUJOCO_GL": "egl"}),
        ("from tempovla.env import rendering; rendering._load_library = lambda *names: None;" + SELECT, {}),
    ],
)
def test_without_a_backend_one_line_names_the_debian_packages(code: str, environment: dict[str, str]) -> None:
    result = select_in_subprocess(code, **environment)
    assert result.returncode == 1
    message = result.stderr.strip().splitlines()[-1]
    assert "RenderingUnavailableError: cannot render offscreen" in message
    assert "libegl1 libgl1-mesa-dri" in message
    assert "libosmesa6" in message


def test_a_windowed_backend_is_refused() -> None:
    assert "MUJOCO_GL=glfw cannot draw offscreen" in select_in_subprocess(MUJOCO_GL="glfw").stderr


def test_box_average_rounds_the_mean_of_each_box() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, :2] = [[[0] * 3, [1] * 3], [[2] * 3, [3] * 3]]  # mean 1.5
    image[0, 2:] = 255  # mean 127.5
    np.testing.assert_array_equal(rendering._box_average(image, 2), [[[2] * 3, [128] * 3]])


@pytest.mark.parametrize("task", ["door-open-v3", "soccer-v3"])
def test_leaving_out_what_no_camera_sees_changes_no_pixel(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = MetaWorldEnv(MetaWorldConfig(task=task))
    env.reset(seed=4)
    groups = env._simulation.model.geom_group.copy()
    culled = env.observe()
    np.testing.assert_array_equal(env._simulation.model.geom_group, groups)
    outside = [rendering._out_of_view(env._simulation.model, env._simulation.data, i).sum() for i in range(7)]
    assert max(outside) > 5
    monkeypatch.setattr(rendering, "_out_of_view", lambda model, data, camera: np.zeros(model.ngeom, bool))
    for key, image in env.observe().items():
        np.testing.assert_array_equal(culled[key], image)


def test_renderers_do_not_disturb_each_other() -> None:
    """Several share the process's OpenGL context, and seldom used ones are freed just when another is made."""
    env = MetaWorldEnv(MetaWorldConfig(task="push-v3", render=False))
    env.reset(seed=1)
    model, data = env._simulation.model, env._simulation.data

    def renderer(image_size: int) -> rendering.OffscreenRenderer:
        return rendering.OffscreenRenderer(copy.copy(model), image_size, supersample=1)

    small, large = renderer(16), renderer(32)
    expected = {size: made.render(model, data, "corner") for size, made in ((16, small), (32, large))}
    np.testing.assert_array_equal(small.render(model, data, "corner"), expected[16])
    np.testing.assert_array_equal(large.render(model, data, "corner"), expected[32])
    newest = renderer(32)
    large.close()
    np.testing.assert_array_equal(newest.render(model, data, "corner"), expected[32])
    np.testing.assert_array_equal(small.render(model, data, "corner"), expected[16])


def test_first_image_already_shows_where_the_reset_put_things() -> None:
    env = MetaWorldEnv(MetaWorldConfig(task="drawer-open-v3", cameras=("gripperPOV",)))
    first, _ = env.reset(seed=5)
    second, *_ = env.step(np.array([0, 0, 0, -1], np.float32))
    key = "observation.images.gripperPOV"
    assert np.abs(first[key].astype(int) - second[key]).mean() < 3  # 9 where the drawer jumps at the first step


@pytest.mark.parametrize(("shape", "colour"), [("disc", (1, 1, 0)), ("ball", (0, 0, 1))])
def test_markers_are_drawn_where_they_are_and_leave_nothing_behind(shape: str, colour: tuple[float, ...]) -> None:
    env = MetaWorldEnv(MetaWorldConfig(task="push-v3", cameras=("corner2",), image_size=128))
    key = "observation.images.corner2"
    bare = env.reset(seed=1)[0][key].astype(int)
    where = (0.2, 0.5, 0.0)
    env.markers = (rendering.Marker(shape, where, 0.08, colour),)
    changed = np.argwhere(np.abs(env.observe()[key] - bare).max(-1) > 60)
    model, data = env.simulation.model, env.simulation.data
    camera = model.camera("corner2").id
    right, up, backward = (np.array(where) - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)
    scale = 64 / np.tan(np.radians(model.cam_fovy[camera]) / 2) / -backward
    middle = [63.5 + up * scale, 63.5 - right * scale]  # corner2 hangs upside down
    np.testing.assert_allclose((changed.min(0) + changed.max(0)) / 2, middle, atol=2.5)
    assert np.ptp(changed[:, 1]) + 1 == pytest.approx(0.16 * scale, abs=2.5)
    env.markers = ()
    np.testing.assert_array_equal(env.observe()[key], bare)


def test_a_depth_buffer_becomes_distances_between_the_planes() -> None:
    near, far = 0.1, 50.0
    metres = np.array([0.1, 0.5, 2.0, 49.0])
    buffer = (near * far / metres - near) / (far - near)  # 1 at the near plane and 0 at the far one
    np.testing.assert_allclose(rendering.distances(buffer, near, far), metres)
    assert rendering.distances(np.zeros(1), near, far).tolist() == [0.0]


def test_distances_are_whole_millimetres_as_far_as_16_bits_go() -> None:
    found = rendering.whole_millimetres(np.array([0.12345, 1.0, 65.535, 65.536, 0.0]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([0.123, 1.0, 65.535, 0.0, 0.0], np.float32))
