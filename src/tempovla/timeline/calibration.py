"""Calibration of cameras: how the pixels of a stream lie in space.

Nothing here imports torch: simulator workers load this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from tempovla.timeline.arguments import brief, plain

Matrix = tuple[tuple[float, ...], ...]

SAME = 1e-6
"""Poses and intrinsics whose numbers differ by no more are the same; those of intrinsics are compared in relation."""
_SKEWED = 1e-3
_LARGEST = 1e6
"""No focal length in pixels and no distance in metres of a camera comes near it."""
_POSE_REMEDY = "give the 4 x 4 matrix of a rotation and a position, or null where the camera moves or it is not known"


@dataclass(frozen=True)
class CameraCalibration:
    """The pinhole model of the pictures in one stream, of colours or of distances.

    The camera's frame has x to the right of the upright picture, y down and z forward. Pixel (row r, column c) covers
    the square from (c, r) to (c + 1, r + 1), so that its centre lies at (c + 1/2, r + 1/2); calibrations that count
    from the centre of the first pixel, as OpenCV's do, have a `cx` and `cy` that are 1/2 less.

    Attributes:
        stream: key of the stream, such as `observation.images.front`.
        width, height: size of the pictures for which the intrinsics hold [px].
        fx, fy: focal lengths [px].
        cx, cy: where the optical axis meets the picture [px].
        pose: where the camera is, as rows of a 4 x 4 matrix that maps points from the camera's frame into `frame` [m];
            None where the camera moves, or it is not known.
        frame: the frame of the pose, the `world` or the robot's `base`.
        rate_hz: rate at which the camera takes pictures [Hz]; None where it is not known.
    """

    stream: str
    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    pose: Matrix | None = None
    frame: Literal["world", "base"] = "world"
    rate_hz: float | None = None

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            size = plain(getattr(self, name))
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(f"{self._where}: {name}={brief(size)} must be a whole number of pixels, at least 1")
        for name, least in (("fx", 0.0), ("fy", 0.0), ("cx", -_LARGEST), ("cy", -_LARGEST)):
            self._check_number(name, least)
        if self.rate_hz is not None:
            self._check_number("rate_hz", 0.0)
        if self.frame not in ("world", "base"):
            raise ValueError(f"{self._where}: frame={self.frame!r} is unknown; choose world or base")
        if self.pose is not None:
            self._check_pose()

    @property
    def _where(self) -> str:
        return f"calibration of {self.stream!r}"

    def _check_number(self, name: str, least: float) -> None:
        value = plain(getattr(self, name))
        if isinstance(value, bool) or not isinstance(value, int | float) or not least < value < _LARGEST:
            bounds = f"a number above 0 and below {_LARGEST:g}" if least == 0 else f"a number within {_LARGEST:g}"
            raise ValueError(f"{self._where}: {name}={brief(value)} must be {bounds}")

    def _check_pose(self) -> None:
        rows = self.pose
        is_matrix = isinstance(rows, list | tuple) and len(rows) == 4 and all(len(row) == 4 for row in rows)
        numbers = [plain(value) for row in rows for value in row] if is_matrix and rows is not None else []
        if not numbers or not all(isinstance(n, int | float) and -_LARGEST < n < _LARGEST for n in numbers):
            raise ValueError(f"{self._where}: pose={brief(rows)} is no pose; {_POSE_REMEDY}")
        turn = [numbers[4 * row : 4 * row + 3] for row in range(3)]
        pairs = [(i, j) for i in range(3) for j in range(3)]
        products = [sum(a * b for a, b in zip(turn[i], turn[j], strict=True)) - (i == j) for i, j in pairs]
        wrong = max(map(abs, products)) > _SKEWED or _determinant(turn) < 0
        if wrong or any(abs(a - b) > _SKEWED for a, b in zip(numbers[12:], (0, 0, 0, 1), strict=True)):
            raise ValueError(f"{self._where}: pose={brief(rows)} does not turn and move the camera; {_POSE_REMEDY}")

    def intrinsics(self, width: int, height: int) -> Matrix:
        """Return the 3 x 3 intrinsics for pictures that were resized as a whole to `width` x `height` [px]."""
        x, y = width / self.width, height / self.height
        return ((self.fx * x, 0.0, self.cx * x), (0.0, self.fy * y, self.cy * y), (0.0, 0.0, 1.0))

    def has_intrinsics_of(self, other: CameraCalibration) -> bool:
        """Return whether another calibration sees a pixel in the same direction of its own frame."""
        mine, theirs = ((c.fx / c.width, c.fy / c.height, c.cx / c.width, c.cy / c.height) for c in (self, other))
        return all(abs(a - b) <= SAME * max(1.0, abs(a)) for a, b in zip(mine, theirs, strict=True))

    def has_pose_of(self, other: CameraCalibration) -> bool:
        """Return whether another calibration has the same pose, or both have none."""
        if self.pose is None or other.pose is None:
            return self.pose is other.pose
        rows = zip(self.pose, other.pose, strict=True)
        return self.frame == other.frame and all(abs(a - b) <= SAME for row in rows for a, b in zip(*row, strict=True))


def common_cameras(
    known: Iterable[CameraCalibration], here: Iterable[CameraCalibration]
) -> tuple[CameraCalibration, ...]:
    """Return what holds of both: calibrations of the streams that both have, without a pose where the poses differ.

    Raises:
        ValueError: if the intrinsics of a stream differ.
    """
    others = {camera.stream: camera for camera in here}
    kept = []
    for camera in known:
        other = others.get(camera.stream)
        if other is None:
            continue
        if not camera.has_intrinsics_of(other):
            raise ValueError(
                f"{camera.stream!r} has intrinsics {list(other.intrinsics(other.width, other.height))}, but others in "
                f"earlier episodes, {list(camera.intrinsics(other.width, other.height))}; give it another name, or "
                "record into another folder"
            )
        kept.append(camera if camera.has_pose_of(other) else replace(camera, pose=None))
    return tuple(kept)


def check_cameras(cameras: Iterable[CameraCalibration]) -> None:
    """Refuse two calibrations of one stream.

    Raises:
        ValueError: naming the stream.
    """
    seen: set[str] = set()
    for camera in cameras:
        if camera.stream in seen:
            raise ValueError(f"cameras: {camera.stream!r} is calibrated twice; keep one of them")
        seen.add(camera.stream)


def _determinant(m: list[list[float]]) -> float:
    (a, b, c), (d, e, f), (g, h, i) = m
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
