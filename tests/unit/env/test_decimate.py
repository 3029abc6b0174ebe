"""Coarse meshes keep flat sides flat, corners sharp and textures in place."""

import numpy as np
import pytest

mujoco = pytest.importorskip("mujoco")

from tempovla.env.decimate import Coarseness, decimate_meshes  # noqa: E402

HALF = np.array([0.1, 0.08, 0.05])
STEPS = 20


def finely_meshed_box() -> mujoco.MjModel:
    """A box of 12 * 400 triangles whose texture coordinates are an affine map of its x and y."""
    grid = np.linspace(-1, 1, STEPS + 1)
    vertices: list[np.ndarray] = []
    faces: list[list[int]] = []
    for axis in range(3):
        for side in (-1, 1):
            first = len(vertices)
            for u in grid:
                for v in grid:
                    point = np.insert([u, v], axis, side) * HALF
                    vertices.append(point)
            for i in range(STEPS):
                for j in range(STEPS):
                    a = first + i * (STEPS + 1) + j
                    b, c, d = a + 1, a + STEPS + 1, a + STEPS + 2
                    quad = [[a, c, d], [a, d, b]]
                    faces += quad if (side > 0) ^ (axis == 1) else [triangle[::-1] for triangle in quad]
    points = np.array(vertices)
    texture = points[:, :2] * 2 + 0.5

    def text(values: np.ndarray) -> str:
        return " ".join(f"{value:.6f}" for value in values.reshape(-1))

    indices = " ".join(str(index) for triangle in faces for index in triangle)
    return mujoco.MjModel.from_xml_string(
        f"<mujoco><asset><mesh name='box' vertex='{text(points)}' texcoord='{text(texture)}' face='{indices}'/></asset>"
        "<worldbody><geom type='mesh' mesh='box'/></worldbody></mujoco>"
    )


def test_a_box_stays_a_box_with_its_texture() -> None:
    model = finely_meshed_box()
    before = model.mesh_facenum[0]
    decimate_meshes(model, Coarseness(cell_share=1 / 7, smallest_cell_m=0.005, near=(), min_faces=100))
    assert model.mesh_facenum[0] < before / 5
    faces = model.mesh_face[: model.mesh_facenum[0]]
    corners = model.mesh_vert[faces].astype(np.float64)
    # MuJoCo centres a mesh and turns it to its principal axes: a permutation of the box's.
    sides = np.sort(np.ptp(corners.reshape(-1, 3), axis=0))
    np.testing.assert_allclose(sides, [0.1, 0.16, 0.2], atol=1e-5)
    half = np.ptp(corners.reshape(-1, 3), axis=0) / 2
    np.testing.assert_allclose((np.abs(corners) / half).max(axis=-1), 1, atol=1e-5)  # every corner is on the surface
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.isclose(
        np.linalg.norm(cross, axis=1).sum() / 2, 2 * (0.2 * 0.16 + 0.2 * 0.1 + 0.16 * 0.1), rtol=0.03
    )  # no holes
    coordinates = model.mesh_texcoord[model.mesh_facetexcoord[: len(faces)]].reshape(-1, 2)
    design = np.c_[corners.reshape(-1, 3), np.ones(len(coordinates))]
    _, residual, *_ = np.linalg.lstsq(design, coordinates, rcond=None)
    np.testing.assert_allclose(residual, 0, atol=1e-5)


def test_meshes_with_few_triangles_stay_as_they_are() -> None:
    model = finely_meshed_box()
    faces = model.mesh_face.copy()
    decimate_meshes(model, Coarseness(cell_share=1 / 7, smallest_cell_m=0.005, near=(), min_faces=10_000))
    np.testing.assert_array_equal(model.mesh_face, faces)


def test_what_is_seen_up_close_gets_the_smallest_cells() -> None:
    counts = []
    for near in ((), ("bo",)):
        model = finely_meshed_box()
        decimate_meshes(model, Coarseness(cell_share=1 / 7, smallest_cell_m=0.012, near=near, min_faces=100))
        counts.append(model.mesh_facenum[0])
    assert counts[1] > 2 * counts[0]
