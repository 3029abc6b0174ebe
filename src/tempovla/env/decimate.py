"""Coarse meshes that keep their edges and labels, for drawing small images in software.

Vertex clustering with quadric error metrics (Lindstrom, 2000): all vertices in a grid cell become the one point that is
nearest to the planes of the triangles around it, so that flat sides stay flat and corners sharp. Texture coordinates
follow the corners along their triangle's plane. Physics keeps the original model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import mujoco

_FLAT = 0.01  # eigenvalues of a quadric below this share of the largest: the planes do not say where along it to be
_STEEP = 2.0  # gradients of texture coordinates beyond this multiple of the mesh's median are slivers' noise


@dataclass(frozen=True)
class Coarseness:
    """How much of a mesh is left out.

    Attributes:
        cell_share: side of a grid cell as a share of the mesh's middle side, so that small things keep their shape.
        smallest_cell_m: but never less than this [m].
        near: beginnings of the names of meshes that a camera sees up close, which get the smallest cells.
        min_faces: meshes with fewer triangles stay as they are.
    """

    cell_share: float
    smallest_cell_m: float
    near: tuple[str, ...]
    min_faces: int


def decimate_meshes(model: mujoco.MjModel, coarseness: Coarseness) -> None:
    """Coarsen the meshes of a compiled model in place.

    Give it a copy of the model, made for drawing only, before its meshes are uploaded.
    """
    for mesh in range(model.nmesh):
        if model.mesh_facenum[mesh] < coarseness.min_faces:
            continue
        vertices = _rows(model.mesh_vert, model.mesh_vertadr[mesh], model.mesh_vertnum[mesh])
        near = model.mesh(mesh).name.startswith(coarseness.near)
        share = 0 if near else coarseness.cell_share
        middle_side = np.sort(np.ptp(vertices, axis=0))[1]
        _decimate(model, mesh, max(middle_side * share, coarseness.smallest_cell_m))


def _decimate(model: mujoco.MjModel, mesh: int, cell: float) -> None:
    rows = slice(model.mesh_faceadr[mesh], model.mesh_faceadr[mesh] + model.mesh_facenum[mesh])
    vertices = _rows(model.mesh_vert, model.mesh_vertadr[mesh], model.mesh_vertnum[mesh])
    corners = vertices[model.mesh_face[rows]].astype(np.float64)  # (F, 3 corners, 3)
    _, cluster = np.unique(_row_numbers(np.floor(vertices / cell).astype(np.int64)), return_inverse=True)
    faces = cluster.reshape(-1)[model.mesh_face[rows]]
    kept = _distinct_triangles(faces)
    points = _nearest_points(corners, faces, cell)

    normals = _rows(model.mesh_normal, model.mesh_normaladr[mesh], model.mesh_normalnum[mesh])
    normal_of_corner = normals[model.mesh_facenormal[rows]].astype(np.float64)
    smooth, group = _mean_normals(normal_of_corner, faces)
    used, group = np.unique(group[kept], return_inverse=True)
    target = slice(rows.start, rows.start + len(kept))
    facenormal = model.mesh_facenormal[rows][kept]
    if len(used) <= len(normals):
        normals[: len(used)] = smooth[used]
        facenormal = group.reshape(-1, 3)

    facetexcoord = model.mesh_facetexcoord[rows][kept]
    if model.mesh_texcoordadr[mesh] >= 0 and 3 * len(kept) <= model.mesh_texcoordnum[mesh]:
        coordinates = _rows(model.mesh_texcoord, model.mesh_texcoordadr[mesh], model.mesh_texcoordnum[mesh])
        moved = _follow(corners[kept], coordinates[facetexcoord].astype(np.float64), points[faces[kept]])
        coordinates[: 3 * len(kept)] = moved.reshape(-1, 2)
        facetexcoord = np.arange(3 * len(kept)).reshape(-1, 3)

    vertices[: len(points)] = points
    model.mesh_face[target], model.mesh_facenormal[target] = faces[kept], facenormal
    model.mesh_facetexcoord[target] = facetexcoord
    model.mesh_facenum[mesh] = len(kept)


def _rows(array: np.ndarray, first: int, count: int) -> np.ndarray:
    return array[first : first + count]


def _row_numbers(rows: np.ndarray) -> np.ndarray:
    """One number for each row of integers (N, D), ordered as the rows are; sorting numbers is ten times faster."""
    if len(rows) == 0:
        return np.zeros(0, np.int64)
    lowest = rows.min(axis=0)
    sides = rows.max(axis=0) - lowest + 1
    assert np.prod(sides.astype(float)) < 2**63, sides
    return np.ravel_multi_index(tuple((rows - lowest).T), tuple(sides))


def _distinct_triangles(faces: np.ndarray) -> np.ndarray:
    """Indices of the triangles (F, 3) that have three corners, one for each set of corners and orientation."""
    first = faces.argmin(axis=1)
    turned = np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, axis=1)
    whole = np.flatnonzero((faces != np.roll(faces, 1, axis=1)).all(axis=1))
    _, distinct = np.unique(_row_numbers(turned[whole]), return_index=True)
    return whole[np.sort(distinct)]


def _nearest_points(corners: np.ndarray, faces: np.ndarray, cell: float) -> np.ndarray:
    """For each cluster, the point nearest to the planes of the triangles that touch it, area-weighted: (K, 3)."""
    count, owner = faces.max() + 1, faces.reshape(-1)

    def total(per_corner: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(owner, column, count) for column in per_corner.reshape(len(owner), -1).T], axis=1)

    number = np.maximum(np.bincount(owner, minlength=count), 1)
    mean = total(corners) / number[:, None]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1, keepdims=True)
    normal = np.repeat(cross / np.maximum(area, 1e-12), 3, axis=0)  # one row per corner
    weight = np.repeat(area, 3, axis=0)
    height = (normal * (np.repeat(corners[:, 0], 3, axis=0) - mean[owner])).sum(axis=1, keepdims=True)
    quadric = total(weight[..., None] * normal[:, :, None] * normal[:, None, :]).reshape(count, 3, 3)
    towards = total(weight * height * normal)
    values, axes = np.linalg.eigh(quadric)
    firm = values > _FLAT * values[:, -1:]
    inverse = np.where(firm, 1 / np.where(firm, values, 1), 0)
    offset = np.einsum("kij,kj,klj,kl->ki", axes, inverse, axes, towards)
    return mean + np.where(np.abs(offset).max(axis=1, keepdims=True) <= cell, offset, 0)


def _mean_normals(normals: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normals (G, 3) shared by the corners of a cluster that face alike, and each corner's group (F, 3)."""
    direction = (np.rint(normals).astype(np.int64) + 1) @ (9, 3, 1)
    _, group = np.unique(faces * 27 + direction, return_inverse=True)
    group = group.reshape(faces.shape)
    total = np.stack([np.bincount(group.reshape(-1), column) for column in normals.reshape(-1, 3).T], axis=1)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12), group


def _follow(corners: np.ndarray, coordinates: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Texture coordinates (F, 3, 2) at moved corners: each triangle's own map from space to texture goes on."""
    edges = corners[:, 1:] - corners[:, :1]
    gradient = np.linalg.pinv(edges, rcond=1e-3) @ (coordinates[:, 1:] - coordinates[:, :1])  # (F, 3, 2)
    size = np.linalg.norm(gradient, axis=(1, 2), keepdims=True)
    gradient *= np.minimum(1, _STEEP * np.median(size) / np.maximum(size, 1e-12))
    return coordinates + (moved - corners) @ gradient
