"""Light and weather: what the scene looks like by day, at night, in fog and in rain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Weather:
    """One condition.

    Attributes:
        words: for people.
        sky_top: colour of the sky above, in [0, 1].
        sky_low: colour of the sky at the horizon.
        fog: colour of the fog.
        fog_m: distances at which fog begins and hides everything [m].
        ambient: light from everywhere.
        sun: light from the sun, or the moon.
        dark: whether lamps are lit.
        shade: how much darker the ground is in the shadow of houses, 0 to 1.
        ground: factor of the brightness of the ground.
        wet: whether the road is wet.
        noise: standard deviation of the cameras' noise [levels of 255].
        streaks: rain drops in a picture of 100 x 100 pixels.
        lidar_range_m: where half of the LiDAR's pulses are lost to the weather [m].
        backscatter: share of the LiDAR's pulses that drops of water return.
    """

    words: str
    sky_top: Colour
    sky_low: Colour
    fog: Colour
    fog_m: tuple[float, float]
    ambient: Colour
    sun: Colour
    dark: bool = False
    shade: float = 0.0
    ground: float = 1.0
    wet: bool = False
    noise: float = 1.0
    streaks: float = 0.0
    lidar_range_m: float = 150.0
    backscatter: float = 0.0


WEATHERS: dict[str, Weather] = {
    "day": Weather(
        "by day", (0.33, 0.53, 0.83), (0.78, 0.85, 0.93), (0.76, 0.82, 0.9), (90.0, 320.0),
        (0.6, 0.61, 0.64), (0.55, 0.52, 0.45), shade=0.4,
    ),
    "night": Weather(
        "at night", (0.01, 0.012, 0.03), (0.05, 0.05, 0.075), (0.03, 0.03, 0.045), (50.0, 200.0),
        (0.1, 0.1, 0.13), (0.05, 0.05, 0.08), dark=True, ground=0.17, noise=3.0,
    ),
    "fog": Weather(
        "in fog", (0.7, 0.72, 0.74), (0.7, 0.72, 0.74), (0.7, 0.72, 0.74), (4.0, 48.0),
        (0.6, 0.61, 0.62), (0.18, 0.18, 0.18), ground=0.9, noise=1.0, lidar_range_m=55.0, backscatter=0.02,
    ),
    "rain": Weather(
        "in rain", (0.38, 0.41, 0.45), (0.56, 0.58, 0.6), (0.53, 0.55, 0.57), (15.0, 130.0),
        (0.5, 0.51, 0.53), (0.12, 0.12, 0.12), ground=0.72, wet=True, noise=1.5, streaks=14.0,
        lidar_range_m=80.0, backscatter=0.01,
    ),
}  # fmt: skip
"""By the name of the task."""


def exposed(picture: np.ndarray, weather: Weather, generator: np.random.Generator) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 with what the weather and the sensor do to it.

    Args:
        picture: as it was drawn.
        weather: the condition.
        generator: of the noise and the drops.
    """
    height, width, _ = picture.shape
    out = picture.astype(np.int16)
    drops = int(weather.streaks * height * width / 1e4)
    if drops:
        length = max(2, height // 14)
        rows = generator.integers(0, height, drops)
        columns = generator.integers(0, width, drops)
        bright = generator.integers(10, 34, drops).astype(np.int16)
        for step in range(length):
            at = np.minimum(rows + step, height - 1), np.minimum(columns + step // 3, width - 1)
            out[at] += bright[:, None]
    if weather.noise:
        reach = max(1, round(weather.noise * 1.7))  # of a uniform distribution of about this standard deviation
        out += generator.integers(-reach, reach + 1, picture.shape, np.int8)
    return np.clip(out, 0, 255).astype(np.uint8)
