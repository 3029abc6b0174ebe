"""Shapes of road users, as meshes of flat triangles; x points forward, y to the left, z up, the ground is z = 0."""

from __future__ import annotations

import math

import numpy as np

from tempovla.env.driving.agents import BICYCLE, BUS, CAR, KINDS, MOTORCYCLE, TRUCK

Part = tuple[np.ndarray, np.ndarray]
"""Vertices (N, 3) and triangles (M, 3)."""

SURFACES = ("paint", "glass", "dark", "light", "front_lamp", "rear_lamp")
"""What a vehicle is made of, each a mesh of its own."""


def frustum(
    x: tuple[float, float],
    y: tuple[float, float],
    z: tuple[float, float],
    top_x: tuple[float, float] | None = None,
    top_inset: float = 0.0,
) -> Part:
    """Return a box whose top may be shorter and narrower.

    Args:
        x: from the rear to the front [m].
        y: from the right to the left [m].
        z: from below to above [m].
        top_x: the same as `x` on top; None for a box.
        top_inset: how much narrower the top is on each side [m].
    """
    top = top_x or x
    below = [(x[0], y[0], z[0]), (x[1], y[0], z[0]), (x[1], y[1], z[0]), (x[0], y[1], z[0])]
    inner = y[0] + top_inset, y[1] - top_inset
    above = [(top[0], inner[0], z[1]), (top[1], inner[0], z[1]), (top[1], inner[1], z[1]), (top[0], inner[1], z[1])]
    faces = [(0, 2, 1), (0, 3, 2), (4, 5, 6), (4, 6, 7)]
    for side in range(4):
        onward = (side + 1) % 4
        faces += [(side, onward, 4 + onward), (side, 4 + onward, 4 + side)]
    return np.array(below + above), np.array(faces)


def wheel(x: float, y: float, radius: float, width: float, facets: int = 10) -> Part:
    """Return a wheel that stands on the ground."""
    angles = 2 * math.pi * np.arange(facets) / facets
    ring = np.stack([x + radius * np.cos(angles), np.zeros(facets), radius + radius * np.sin(angles)], axis=1)
    right, left = ring + np.array([0, y - width / 2, 0]), ring + np.array([0, y + width / 2, 0])
    hubs = np.array([[x, y - width / 2, radius], [x, y + width / 2, radius]])
    faces = []
    for index in range(facets):
        onward = (index + 1) % facets
        faces += [(index, facets + index, facets + onward), (index, facets + onward, onward)]
        faces += [(2 * facets, index, onward), (2 * facets + 1, facets + onward, facets + index)]
    return np.concatenate([right, left, hubs]), np.array(faces)


def joined(parts: list[Part]) -> Part:
    """Return parts as one mesh whose triangles share no vertices, so that their faces are flat."""
    vertices = np.concatenate([points[faces].reshape(-1, 3) for points, faces in parts])
    return vertices, np.arange(len(vertices)).reshape(-1, 3)


def _pair(part: Part) -> list[Part]:
    """A part and its mirror image on the other side."""
    points, faces = part
    return [part, (points * (1, -1, 1), faces[:, ::-1])]


def _wheels(xs: tuple[float, ...], y: float, radius: float, width: float) -> tuple[list[Part], list[Part]]:
    """Tyres and hubs."""
    tyres = [part for x in xs for part in _pair(wheel(x, y, radius, width))]
    hubs = []
    for x in xs:
        points, faces = wheel(x, y + 0.012, radius * 0.58, width)
        hubs += _pair((points + np.array([0, 0, radius * 0.42]), faces))
    return tyres, hubs


def _car() -> dict[str, list[Part]]:
    half = KINDS[CAR].width / 2
    tyres, hubs = _wheels((-1.42, 1.38), half - 0.13, 0.33, 0.22)
    return {
        "paint": [
            frustum((-2.26, 2.22), (-half, half), (0.3, 0.7), (-2.3, 2.26), 0.02),
            frustum((-2.3, 2.26), (-half + 0.02, half - 0.02), (0.7, 0.92), (-2.18, 1.2), 0.09),
            frustum((1.15, 2.26), (-half + 0.05, half - 0.05), (0.7, 0.8), (1.1, 2.05), 0.12),
            frustum((-1.38, 0.32), (-0.68, 0.68), (1.44, 1.52), (-1.25, 0.2), 0.05),
        ],
        "glass": [frustum((-2.0, 1.18), (-half + 0.1, half - 0.1), (0.92, 1.46), (-1.4, 0.34), 0.18)],
        "dark": [
            *tyres,
            frustum((-2.32, 2.3), (-half + 0.04, half - 0.04), (0.2, 0.34)),
            frustum((2.2, 2.285), (-0.42, 0.42), (0.42, 0.6)),
            *_pair(frustum((0.72, 0.92), (half - 0.02, half + 0.12), (0.88, 1.02))),
        ],
        "light": [
            *hubs,
            frustum((-2.34, -2.28), (-0.26, 0.26), (0.5, 0.62)),
            frustum((2.25, 2.315), (-0.26, 0.26), (0.32, 0.42)),
        ],
        "front_lamp": _pair(frustum((2.12, 2.285), (0.5, 0.86), (0.6, 0.76))),
        "rear_lamp": [
            *_pair(frustum((-2.325, -2.2), (0.5, 0.9), (0.66, 0.84))),
            frustum((-2.02, -1.9), (-0.2, 0.2), (1.3, 1.36)),
        ],
    }


def _truck() -> dict[str, list[Part]]:
    half = KINDS[TRUCK].width / 2
    tyres, hubs = _wheels((-2.4, 2.5), half - 0.2, 0.48, 0.3)
    return {
        "paint": [
            frustum((1.85, 3.55), (-half + 0.1, half - 0.1), (0.55, 1.35)),
            frustum((1.85, 3.4), (-half + 0.1, half - 0.1), (2.2, 2.5), (1.85, 3.1), 0.05),
        ],
        "light": [frustum((-3.55, 1.75), (-half, half), (0.95, 3.1)), *hubs],
        "glass": [frustum((1.9, 3.54), (-half + 0.12, half - 0.12), (1.35, 2.2), (1.9, 3.4))],
        "dark": [
            *tyres,
            frustum((-3.5, 3.5), (-0.9, 0.9), (0.5, 0.95)),
            frustum((3.45, 3.6), (-half + 0.1, half - 0.1), (0.35, 0.6)),
        ],
        "front_lamp": _pair(frustum((3.45, 3.6), (0.65, 1.02), (0.72, 0.95))),
        "rear_lamp": _pair(frustum((-3.6, -3.5), (0.75, 1.15), (0.8, 1.05))),
    }


def _bus() -> dict[str, list[Part]]:
    half = KINDS[BUS].width / 2
    tyres, hubs = _wheels((-3.2, 3.4), half - 0.18, 0.5, 0.3)
    return {
        "paint": [
            frustum((-5.5, 5.45), (-half, half), (0.4, 1.35)),
            frustum((-5.5, 5.45), (-half, half), (2.55, 3.1), (-5.4, 5.3), 0.1),
            *[frustum((x, x + 0.16), (-half + 0.005, half - 0.005), (1.3, 2.6)) for x in (-5.48, -2.6, 0.3, 3.2)],
        ],
        "glass": [frustum((-5.48, 5.46), (-half + 0.02, half - 0.02), (1.35, 2.55))],
        "dark": [*tyres, frustum((-5.4, 5.4), (-half + 0.05, half - 0.05), (0.25, 0.42))],
        "light": [*hubs, frustum((5.35, 5.49), (-0.8, 0.8), (2.65, 2.92))],
        "front_lamp": _pair(frustum((5.38, 5.5), (0.7, 1.12), (0.62, 0.82))),
        "rear_lamp": _pair(frustum((-5.55, -5.45), (0.85, 1.18), (0.85, 1.2))),
    }


def _two_wheels(kind: int) -> dict[str, list[Part]]:
    is_motorcycle = kind == MOTORCYCLE
    radius, reach = (0.31, 0.7) if is_motorcycle else (0.34, 0.54)
    thick = 0.11 if is_motorcycle else 0.05
    tyres = [wheel(x, 0.0, radius, thick) for x in (-reach, reach)]
    frame = frustum((-reach, reach), (-0.05, 0.05), (0.4, 0.52), (-0.3, reach - 0.1))
    bars = frustum((0.38, 0.46), (-0.3, 0.3), (0.95, 1.02))
    saddle = 0.82 if is_motorcycle else 0.95
    rider = [
        frustum((-0.34, 0.0), (-0.2, 0.2), (saddle, saddle + 0.52), (-0.2, 0.2), 0.03),
        *_pair(frustum((0.0, 0.42), (0.17, 0.26), (saddle + 0.1, saddle + 0.2), (0.05, 0.45))),
    ]
    legs = _pair(frustum((-0.22, 0.05), (0.1, 0.22), (0.3, saddle), (-0.25, 0.0)))
    head = frustum((-0.05, 0.2), (-0.11, 0.11), (saddle + 0.54, saddle + 0.8), (-0.03, 0.16), 0.02)
    body = [frustum((-0.55, 0.45), (-0.16, 0.16), (0.45, 0.82), (-0.6, 0.4), 0.03)] if is_motorcycle else []
    return {
        "paint": [*rider, *body],
        "dark": [*tyres, frame, bars, *legs],
        "light": [head],
        "front_lamp": [frustum((0.46, 0.52), (-0.07, 0.07), (0.82, 0.94))],
        "rear_lamp": [frustum((-0.66, -0.6), (-0.06, 0.06), (0.62, 0.72))],
    }


def _recentred(parts: dict[str, list[Part]]) -> dict[str, Part]:
    return {surface: joined(own) for surface, own in parts.items()}


def vehicle_meshes(kind: int) -> dict[str, Part]:
    """Return the meshes of a kind of vehicle by what they are made of, see `SURFACES`.

    Raises:
        KeyError: for a kind that is no vehicle.
    """
    shapes = {
        CAR: _car,
        TRUCK: _truck,
        BUS: _bus,
        MOTORCYCLE: lambda: _two_wheels(MOTORCYCLE),
        BICYCLE: lambda: _two_wheels(BICYCLE),
    }
    return _recentred(shapes[kind]())


def obj(part: Part, uv: np.ndarray | None = None) -> bytes:
    """Return a mesh as the bytes of a Wavefront OBJ file.

    Args:
        part: the mesh.
        uv: (N, 2) texture coordinates of its vertices.
    """
    vertices, faces = part
    lines = [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in vertices]
    if uv is None:
        lines += [f"f {a} {b} {c}" for a, b, c in faces + 1]
    else:
        lines += [f"vt {u:.4f} {v:.4f}" for u, v in uv]
        lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in faces + 1]
    return "\n".join(lines).encode()
