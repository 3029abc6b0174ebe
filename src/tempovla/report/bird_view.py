"""A bird's eye view of a car: what it drives among, and where it was to drive and drove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Array = NDArray[np.floating]
Colour = tuple[int, int, int]

COLOURS: Mapping[str, Colour] = {
    "background": (24, 26, 31),
    "surface": (46, 49, 56),
    "lane": (92, 97, 108),
    "route": (60, 110, 190),
    "points": (130, 138, 150),
    "box": (214, 176, 92),
    "ego": (240, 240, 240),
    "true": (120, 200, 120),
    "predicted": (235, 90, 80),
    "mode": (170, 95, 90),
    "words": (235, 235, 235),
}
LIGHTS: Mapping[str, Colour] = {"red": (230, 60, 50), "yellow": (235, 200, 60), "green": (70, 200, 90)}
_OVERSAMPLED = 2
BAND_PX = 16
"""Height of the line of words above a picture."""
_LETTER_PX = 11


@dataclass(frozen=True)
class Frame:
    """What is drawn; all places are in the ego frame, x forward and y to the left [m].

    Attributes:
        points: (N, 2 or more) of a LiDAR; rows that are not finite are left out.
        boxes: (M, 5) of others: x, y, heading, length and width.
        ego: (5,) of the car itself.
        surface: bool for each pixel of the picture (height_px, width_px), whether one can drive there; see
            `BirdView.places`.
        lanes: middles of lanes, polylines (L, 2).
        lane_width: of all of them [m].
        route: polyline (L, 2) to be followed; None if there is none.
        lights: places and colours of traffic lights.
        paths: polylines (H, 2) by name, of which those in `COLOURS` have its colour.
        words: a line above the picture.
    """

    points: Array | None = None
    boxes: Array | None = None
    ego: Array | None = None
    surface: NDArray[np.bool_] | None = None
    lanes: Sequence[Array] = ()
    lane_width: float = 3.4
    route: Array | None = None
    lights: Sequence[tuple[float, float, str]] = ()
    paths: Sequence[tuple[str, Array]] = ()
    words: str = ""


@dataclass(frozen=True)
class BirdView:
    """Draws frames with the car below the middle, looking up.

    Attributes:
        height_px: of the picture, without the line of words.
        width_px: of the picture.
        ahead_m: how far it reaches ahead of the car [m].
        behind_m: how far it reaches behind the car [m].
        colours: in place of those of `COLOURS`.
    """

    height_px: int = 300
    width_px: int = 240
    ahead_m: float = 45.0
    behind_m: float = 15.0
    colours: Mapping[str, Colour] = field(default_factory=dict)

    @property
    def pixels_per_m(self) -> float:
        """The scale, the same in both directions."""
        return self.height_px / (self.ahead_m + self.behind_m)

    def pixels(self, places: Array) -> Array:
        """Return where places (..., 2) in the ego frame are in the picture: column and row (..., 2) [px]."""
        column = self.width_px / 2 - np.asarray(places)[..., 1] * self.pixels_per_m
        row = (self.ahead_m - np.asarray(places)[..., 0]) * self.pixels_per_m
        return np.stack([column, row], axis=-1)

    def places(self) -> NDArray[np.float64]:
        """Return the places (height_px, width_px, 2) of the middles of all pixels in the ego frame [m]."""
        rows, columns = np.arange(self.height_px) + 0.5, np.arange(self.width_px) + 0.5
        x = self.ahead_m - rows / self.pixels_per_m
        y = (self.width_px / 2 - columns) / self.pixels_per_m
        return np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)

    def draw(self, frame: Frame) -> NDArray[np.uint8]:
        """Return the picture (height_px + a line of words, width_px, 3)."""
        size = self.width_px * _OVERSAMPLED, self.height_px * _OVERSAMPLED
        sheet = Image.new("RGB", size, self._colour("background"))
        pen = ImageDraw.Draw(sheet)
        if frame.surface is not None:
            mask = Image.fromarray(frame.surface.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)
            sheet.paste(self._colour("surface"), mask=mask)
        broad = round(frame.lane_width * self.pixels_per_m * _OVERSAMPLED)
        for colour, width in (("lane", broad + 2 * _OVERSAMPLED), ("surface", broad)):
            for lane in frame.lanes:
                pen.line(self._line(lane), fill=self._colour(colour), width=width, joint="curve")
        if frame.route is not None and len(frame.route) > 1:
            pen.line(self._line(frame.route), fill=self._colour("route"), width=4 * _OVERSAMPLED)
        if frame.points is not None:
            places = self.pixels(frame.points[np.isfinite(frame.points).all(axis=1), :2]) * _OVERSAMPLED
            pen.point(list(map(tuple, places.tolist())), fill=self._colour("points"))
        for x, y, state in frame.lights:
            (column, row), radius = self.pixels(np.array([x, y])) * _OVERSAMPLED, 3 * _OVERSAMPLED
            pen.ellipse((column - radius, row - radius, column + radius, row + radius), fill=LIGHTS.get(state))
        for box in frame.boxes if frame.boxes is not None else ():
            self._box(pen, box, "box")
        if frame.ego is not None:
            self._box(pen, frame.ego, "ego")
        for name, path in frame.paths:
            self._path(pen, name, path)
        return self._with_words(sheet.resize((self.width_px, self.height_px), Image.Resampling.BOX), frame.words)

    def _path(self, pen: ImageDraw.ImageDraw, name: str, path: Array) -> None:
        colour, places = self._colour(name), self._line(path)
        if len(places) > 1:
            pen.line(places, fill=colour, width=2 * _OVERSAMPLED)
        radius = 1.5 * _OVERSAMPLED
        for column, row in places:
            pen.ellipse((column - radius, row - radius, column + radius, row + radius), fill=colour)

    def _box(self, pen: ImageDraw.ImageDraw, box: Array, name: str) -> None:
        """An outline, and a line from the middle to the front."""
        x, y, yaw, length, width = (float(number) for number in box)
        ahead, left = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
        corners = [
            np.array([x, y]) + a * length / 2 * ahead + b * width / 2 * left
            for a, b in ((1, 1), (-1, 1), (-1, -1), (1, -1), (1, 1))
        ]
        pen.line(self._line(np.stack(corners)), fill=self._colour(name), width=_OVERSAMPLED)
        front = np.stack([np.array([x, y]), np.array([x, y]) + length / 2 * ahead])
        pen.line(self._line(front), fill=self._colour(name), width=_OVERSAMPLED)

    def _line(self, places: Array) -> list[tuple[float, float]]:
        return [(float(column), float(row)) for column, row in self.pixels(places[:, :2]) * _OVERSAMPLED]

    def _colour(self, name: str) -> Colour:
        return {**COLOURS, **self.colours}.get(name, COLOURS["mode"])

    def _with_words(self, picture: Image.Image, words: str) -> NDArray[np.uint8]:
        sheet = Image.new("RGB", (self.width_px, self.height_px + BAND_PX), self._colour("background"))
        sheet.paste(picture, (0, BAND_PX))
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_LETTER_PX)
        pen.text((self.width_px / 2, BAND_PX / 2), words, self._colour("words"), font, "mm")
        return np.asarray(sheet)
