"""What a depth camera with a calibration knows: a picture, its depth, and the points of several cameras in one frame.

Run: `python benchmarks/depth_picture.py --out docs/images/geometry.png`. It also prints how far the points of
Meta-World's table lie from where the simulator has it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tempovla.env.metaworld import MetaWorldConfig, MetaWorldEnv
from tempovla.model.sensor.unproject import transform_points, unproject
from tempovla.timeline.keys import DEPTH_KEY_PREFIX, IMAGE_KEY_PREFIX

CAMERAS = ("corner2", "corner3", "corner")
TASK, SEED, SIZE, PANEL = "drawer-open-v3", 3, 480, 360
NEAREST_M, FURTHEST_M = 0.6, 2.2
EYE, LOOKS_AT = np.array([-0.9, -0.35, 1.0]), np.array([0.0, 0.65, 0.05])
"""Where no camera stands: the points are shown from there [m]."""


def seen(env: MetaWorldEnv, camera: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A camera's picture (S, S, 3), its depth (S, S) and its points in the world (S, S, 3)."""
    observation = env.observe()
    depth = torch.from_numpy(observation[DEPTH_KEY_PREFIX + camera][..., 0])
    known = next(one for one in env.calibrations() if one.stream == DEPTH_KEY_PREFIX + camera)
    points = unproject(depth, torch.tensor(known.intrinsics(SIZE, SIZE)))
    points = transform_points(points, torch.tensor(known.pose)).permute(1, 2, 0)
    return observation[IMAGE_KEY_PREFIX + camera], depth.numpy(), points.numpy()


def shades(depth: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8: near is light yellow, far dark blue, and no reading black."""
    share = np.clip((depth - NEAREST_M) / (FURTHEST_M - NEAREST_M), 0, 1)[..., None]
    near, middle, far = (np.array(colour) for colour in ((255, 240, 150), (70, 160, 150), (50, 20, 90)))
    colour = np.where(share < 0.5, near + 2 * share * (middle - near), middle + (2 * share - 1) * (far - middle))
    return np.where(depth[..., None] > 0, colour, 0).astype(np.uint8)


def from_elsewhere(points: np.ndarray, colours: np.ndarray, focal: float = 420.0) -> np.ndarray:
    """(PANEL, PANEL, 3) uint8: points (N, 3) as a camera at `EYE` would see them, the nearest last."""
    forward = (LOOKS_AT - EYE) / np.linalg.norm(LOOKS_AT - EYE)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(forward, right), forward])
    x, y, z = axes @ (points - EYE).T
    order = np.argsort(-z)
    picture = np.full((PANEL, PANEL, 3), 250, np.uint8)
    kept = order[z[order] > 0.1]
    columns = (focal * x[kept] / z[kept] + PANEL / 2).astype(int)
    rows = (focal * y[kept] / z[kept] + PANEL / 2).astype(int)
    for shift_row in (0, 1):
        for shift_column in (0, 1):
            r, c = rows + shift_row, columns + shift_column
            inside = (r >= 0) & (r < PANEL) & (c >= 0) & (c < PANEL)
            picture[r[inside], c[inside]] = colours[kept][inside]
    return picture


def draw(path: Path) -> None:
    """Write the picture, and print how well the table is met."""
    env = MetaWorldEnv(MetaWorldConfig(task=TASK, cameras=CAMERAS, image_size=SIZE, depth=True, mesh_cell_m=0.0))
    env.reset(seed=SEED)
    views = [seen(env, camera) for camera in CAMERAS]
    picture, depth, _ = views[0]
    points = np.concatenate([view[2][view[1] > 0] for view in views])
    colours = np.concatenate([view[0][view[1] > 0] for view in views])
    near = np.abs(points - LOOKS_AT).max(axis=1) < 0.75
    shown = from_elsewhere(points[near], colours[near])
    panels = [np.asarray(Image.fromarray(panel).resize((PANEL, PANEL))) for panel in (picture, shades(depth))]
    gap = np.full((PANEL, 8, 3), 255, np.uint8)
    Image.fromarray(np.concatenate([panels[0], gap, panels[1], gap, shown], axis=1)).save(path, optimize=True)
    for camera, (_, _, seen_points) in zip(CAMERAS, views, strict=True):
        height = seen_points[..., 2]
        table = np.abs(height[np.abs(height) < 0.01])
        print(f"{camera:8} {len(table):6} points of the table, {1000 * table.mean():.2f} mm from it in the mean")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="the picture to write")
    draw(parser.parse_args().out)
