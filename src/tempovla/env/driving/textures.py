"""Pictures on the ground and on houses, made from numbers alone."""

from __future__ import annotations

import io
import math

import numpy as np

from tempovla.env.driving.geometry import corners
from tempovla.env.driving.scenery import FLOOR_M, Scenery
from tempovla.env.driving.surface import (
    ASPHALT,
    GRASS,
    KERB,
    PARKING,
    PAVEMENT,
    STRIPE,
    WHITE,
    YELLOW,
    Canvas,
    Surface,
)
from tempovla.env.driving.weather import Weather

SUN = np.array([-0.5, 0.35, -0.8])
"""Where sunlight goes."""
_COLOURS = {
    GRASS: (84, 106, 58),
    PAVEMENT: (150, 146, 139),
    ASPHALT: (74, 75, 78),
    WHITE: (222, 222, 216),
    YELLOW: (206, 168, 58),
    STRIPE: (214, 214, 208),
    PARKING: (88, 87, 88),
    KERB: (178, 176, 170),
}
_ROUGHNESS = {GRASS: 12, PAVEMENT: 5, ASPHALT: 5, WHITE: 8, YELLOW: 8, STRIPE: 9, PARKING: 5, KERB: 5}
_SEED = 0x5EED
_LAMP_POOL_M = 11.0
_FACADE_PX, _BAYS, _STOREYS = 256, 4, 4

FACADES = 6
"""Number of looks of houses."""


def png(picture: np.ndarray) -> bytes:
    """Return a picture (H, W, 3) uint8 as the bytes of a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def ground_picture(surface: Surface, scenery: Scenery, weather: Weather) -> np.ndarray:
    """Return the ground as it looks from above, (S, S, 3) uint8."""
    import cv2

    generator = np.random.default_rng(_SEED)
    kinds, size = surface.kinds, len(surface.kinds)
    palette = np.zeros((len(_COLOURS), 3), np.float32)
    rough = np.zeros(len(_COLOURS), np.float32)
    for kind, colour in _COLOURS.items():
        palette[kind], rough[kind] = colour, _ROUGHNESS[kind]
    fine = generator.standard_normal((size // 2, size // 2)).astype(np.float32)
    broad = generator.standard_normal((size // 48, size // 48)).astype(np.float32)
    texture = 0.6 * cv2.resize(fine, (size, size)) + 0.8 * cv2.resize(
        broad, (size, size), interpolation=cv2.INTER_CUBIC
    )
    light = _light(surface, scenery, weather)
    amount = texture * rough[kinds]
    del texture, fine
    picture = np.empty((size, size, 3), np.uint8)
    wet = 0.82 if weather.wet else 1.0
    for channel in range(3):
        plane = (palette[:, channel][kinds] * wet + amount) * light[channel]
        picture[..., channel] = np.clip(plane, 0, 255)
    return cv2.GaussianBlur(picture, (3, 3), 0.8)  # the grid's cells have hard edges


def _light(surface: Surface, scenery: Scenery, weather: Weather) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The brightness of the ground by channel: shadows by day, pools of lamps at night, dark corners at walls."""
    import cv2

    size = len(surface.kinds) // 4  # shadows are soft
    canvas = Canvas(surface.side_m, size)
    full = np.full((size, size), weather.ground, np.float32)
    for house in scenery.houses:
        wide = house.box + np.array([0, 0, 0, 1.2, 1.2])
        canvas.fill(corners(wide[None])[0], 1)
    near_walls = cv2.GaussianBlur(canvas.kinds.astype(np.float32), (0, 0), 0.8 / canvas.cell_m)
    full *= 1 - 0.35 * near_walls
    if weather.shade:
        full *= 1 - weather.shade * _shadows(surface, scenery, size)
    channels = [full.copy() for _ in range(3)]
    if weather.dark:
        glow = np.zeros((size, size), np.float32)
        for place, heading in scenery.lamps:
            _add_pool(glow, canvas, place + 1.6 * np.array([math.cos(heading), math.sin(heading)]))
        for channel, share in zip(channels, (1.0, 0.86, 0.62), strict=True):
            channel += 0.62 * share * glow
    whole = len(surface.kinds)
    first, second, third = (cv2.resize(channel, (whole, whole)) for channel in channels)
    return first, second, third


def _shadows(surface: Surface, scenery: Scenery, size: int) -> np.ndarray:
    """How much of the sun each place of the ground misses, (size, size) float32 in [0, 1]."""
    import cv2

    canvas = Canvas(surface.side_m, size)
    for house in scenery.houses:
        outline = corners(house.box[None])[0]
        thrown = outline + SUN[:2] / -SUN[2] * house.floors * FLOOR_M
        hull = cv2.convexHull(np.concatenate([outline, thrown]).astype(np.float32))[:, 0]
        canvas.fill(hull.astype(np.float64), 1)
    for tree in scenery.trees:
        middle = tree.place + SUN[:2] / -SUN[2] * tree.height * 0.6
        angles = np.linspace(0, 2 * math.pi, 14)
        round_ = np.stack([np.cos(angles), np.sin(angles)], axis=1) * tree.height * 0.27
        canvas.fill(middle + round_, 1)
    return cv2.GaussianBlur(canvas.kinds.astype(np.float32), (0, 0), 0.35 / canvas.cell_m)


def _add_pool(glow: np.ndarray, canvas: Canvas, place: np.ndarray) -> None:
    """Add the light of a street lamp to a part of the grid."""
    row, column = (canvas.side_m - place[1]) / canvas.cell_m, place[0] / canvas.cell_m
    reach = int(1.6 * _LAMP_POOL_M / canvas.cell_m)
    top, left = max(int(row) - reach, 0), max(int(column) - reach, 0)
    part = glow[top : int(row) + reach, left : int(column) + reach]
    if not part.size:
        return
    rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    squared = ((rows - row) ** 2 + (columns - column) ** 2) * canvas.cell_m**2 / _LAMP_POOL_M**2
    np.maximum(part, np.exp(-2.5 * squared).astype(np.float32), out=part)


_WALLS = ((196, 178, 150), (154, 92, 76), (176, 176, 176), (216, 208, 186), (128, 138, 146), (170, 138, 112))
_WINDOW_SHARES = ((0.5, 0.55), (0.42, 0.55), (0.8, 0.5), (0.36, 0.6), (0.86, 0.72), (0.55, 0.5))
"""Width and height of a window, as a share of its bay and storey."""


def facade(style: int, *, dark: bool) -> np.ndarray:
    """Return four bays of four storeys of a house, (256, 256, 3) uint8.

    Args:
        style: number of its look, below `FACADES`.
        dark: whether it is night, when some of the windows are lit.
    """
    generator = np.random.default_rng([_SEED, style])
    picture = np.empty((_FACADE_PX, _FACADE_PX, 3), np.float32)
    picture[:] = _WALLS[style]
    picture += generator.normal(0, 3.5, picture.shape[:2])[..., None]
    cell = _FACADE_PX // _BAYS
    if style == 1:
        picture[::6] *= 0.9
    if style in (2, 4):
        picture[::cell] *= 0.75
        picture[1::cell] *= 0.8
    if dark:
        picture *= 0.1
    share_x, share_y = _WINDOW_SHARES[style]
    wide, high = int(cell * share_x), int(cell * share_y)
    for storey in range(_STOREYS):
        for bay in range(_BAYS):
            top, left = storey * cell + (cell - high) // 2, bay * cell + (cell - wide) // 2
            _draw_window(picture[top - 2 : top + high + 4, left - 2 : left + wide + 2], generator, dark)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _draw_window(part: np.ndarray, generator: np.random.Generator, dark: bool) -> None:
    """Draw a window with its frame and its sill."""
    lit = dark and generator.random() < 0.3
    frame = part[0, 0] * (1.0 if dark else 0.8)
    part[:] = frame
    pane = part[2:-4, 2:-2]
    height = np.linspace(0, 1, pane.shape[0])[:, None, None]
    if lit:
        pane[:] = np.array(((250, 214, 140), (236, 226, 196), (210, 220, 235)))[int(generator.integers(3))]
        pane *= 0.75 + 0.25 * height
    else:
        sky = np.array((128, 150, 172)) * generator.uniform(0.45, 1.0)
        pane[:] = (sky * (1 - height) + np.array((52, 60, 68)) * height) * (0.1 if dark else 1.0)
        if generator.random() < 0.4:
            pane[: int(pane.shape[0] * generator.uniform(0.15, 0.6))] = np.array((205, 200, 190)) * (
                0.1 if dark else 0.85
            )
    middle = part.shape[1] // 2
    part[2:-4, middle : middle + 1] = frame
    part[-4:-2] = part[-1, 0] * (1.0 if dark else 1.25)


def shop_front(*, dark: bool) -> np.ndarray:
    """Return four bays of a ground floor, (64, 256, 3) uint8: doors and shop windows."""
    generator = np.random.default_rng([_SEED, 77])
    picture = np.empty((64, _FACADE_PX, 3), np.float32)
    picture[:] = (120, 114, 108)
    picture[58:] = (84, 82, 80)
    cell = _FACADE_PX // _BAYS
    for bay, colour in enumerate(((150, 52, 46), (50, 84, 122), (66, 104, 70), (140, 112, 60))):
        part = picture[:, bay * cell : (bay + 1) * cell]
        part[4:13, 3:-3] = colour
        glass = np.array((70, 82, 92)) + generator.normal(0, 4, 3)
        if bay % 2:
            part[18:60, 8:28] = np.array(colour) * 0.6
            part[18:56, 36:-6] = glass
        else:
            part[18:54, 6:-6] = glass
            part[18:54, cell // 2 : cell // 2 + 2] = (60, 58, 56)
    if dark:
        bright = picture.copy()
        picture *= 0.1
        for bay in (0, 3):
            columns = slice(bay * cell + 6, (bay + 1) * cell - 6)
            picture[18:54, columns] = (236, 206, 150)
            picture[4:13, columns] = bright[4:13, columns]
    return np.clip(picture, 0, 255).astype(np.uint8)
