"""Coarser meshes keep the shape, and keep out of physics."""

import numpy as np
import pytest

pytestmark = pytest.mark.sim

pytest.importorskip("metaworld")

from tempovla.env.metaworld import MetaWorldConfig, MetaWorldEnv  # noqa: E402
from tempovla.env.simplify import simplify_meshes  # noqa: E402


def surface(model, mesh: int) -> np.ndarray:
    """Corners of the triangles drawn."""
    faces = model.mesh_face[model.mesh_faceadr[mesh] :][: model.mesh_facenum[mesh]]
    return model.mesh_vert[model.mesh_vertadr[mesh] :][faces.reshape(-1)]


def test_fine_meshes_lose_triangles_but_not_their_extent_and_small_ones_stay() -> None:
    cell = 0.015
    model = MetaWorldEnv(MetaWorldConfig(task="drawer-open-v3", render=False))._simulation.model
    before = [surface(model, mesh) for mesh in range(model.nmesh)]
    simplify_meshes(model, cell)
    fine = 0
    for mesh, original in enumerate(before):
        simplified = surface(model, mesh)
        if len(original) < 3 * 2000:
            np.testing.assert_array_equal(simplified, original)
        else:
            fine += 1
            assert len(simplified) < len(original) / 2
            np.testing.assert_allclose(simplified.min(0), original.min(0), atol=cell)
            np.testing.assert_allclose(simplified.max(0), original.max(0), atol=cell)
    assert fine >= 10


def test_drawing_leaves_the_simulated_meshes_alone() -> None:
    drawn = MetaWorldEnv(MetaWorldConfig(task="drawer-open-v3", image_size=16, cameras=("corner2",)))
    faces = drawn._simulation.model.mesh_facenum.copy()
    drawn.reset(seed=0)
    np.testing.assert_array_equal(drawn._simulation.model.mesh_facenum, faces)
