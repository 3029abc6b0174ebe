"""Coarser meshes for drawing: software rendering of small images spends its time on triangles nobody can see.

Only what is drawn changes. Physics keeps the original model, so states, contacts and successes are untouched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import mujoco


_FINE_MESH_FACES = 2000  # in Meta-World: the robot's links, and hardly anything that is seen up close


def simplify_meshes(model: mujoco.MjModel, cell_m: float) -> None:
    """Merge the vertices of every finely meshed part within grid cells (Rossignac and Borrel, 1993), in place.

    Triangles that collapse are dropped, the others keep their shading normals. Give it a copy of the model, made for
    drawing only, before its meshes are uploaded.

    Args:
        model: a compiled model.
        cell_m: side of a grid cell [m]; details smaller than it vanish.
    """
    for mesh in range(model.nmesh):
        if model.mesh_facenum[mesh] < _FINE_MESH_FACES:
            continue
        first_vertex, first_face = model.mesh_vertadr[mesh], model.mesh_faceadr[mesh]
        vertices = model.mesh_vert[first_vertex : first_vertex + model.mesh_vertnum[mesh]]
        face_rows = slice(first_face, first_face + model.mesh_facenum[mesh])
        faces = _cluster_vertices(vertices, cell_m)[model.mesh_face[face_rows]]
        corners = np.sort(faces, axis=1)
        whole = (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2])
        _, unique = np.unique(corners[whole], axis=0, return_index=True)
        kept = np.flatnonzero(whole)[np.sort(unique)]
        target = slice(first_face, first_face + len(kept))
        model.mesh_face[target] = faces[kept]
        model.mesh_facenormal[target] = model.mesh_facenormal[face_rows][kept]
        model.mesh_facetexcoord[target] = model.mesh_facetexcoord[face_rows][kept]
        model.mesh_facenum[mesh] = len(kept)


def _cluster_vertices(vertices: NDArray[np.float32], cell_m: float) -> NDArray[np.int64]:
    """For each vertex (V, 3), the index of the one that stands for its cell: the nearest to the cell's mean."""
    _, cell = np.unique(np.floor(vertices / cell_m).astype(np.int64), axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    count = np.bincount(cell)
    mean = np.stack([np.bincount(cell, vertices[:, axis]) / count for axis in range(3)], axis=1)
    distance = np.square(vertices - mean[cell]).sum(axis=1)
    order = np.lexsort((distance, cell))
    first_of_cell = order[np.searchsorted(cell[order], np.arange(len(count)))]
    return first_of_cell[cell]
