"""A task: the instruction for the robot, and its body."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from tempovla.timeline.calibration import CameraCalibration, check_cameras
from tempovla.timeline.config import config_from_json


@dataclass(frozen=True)
class Embodiment:
    """Dimensions, units and rate of a robot body.

    Attributes:
        name: e.g. ``sawyer``.
        state_dim: size of the proprioceptive state.
        action_dim: size of one action.
        rate_hz: control rate [Hz]; one control step lasts 1 / rate_hz seconds.
        state_names: name and unit of every state dimension, or empty.
        action_names: name and unit of every action dimension, or empty.
        cameras: calibrations of streams of pictures, at most one each; those that are not named are not known.
    """

    name: str
    state_dim: int
    action_dim: int
    rate_hz: float
    state_names: tuple[str, ...] = ()
    action_names: tuple[str, ...] = ()
    cameras: tuple[CameraCalibration, ...] = ()

    def __post_init__(self) -> None:
        check_cameras(self.cameras)

    def camera(self, stream: str) -> CameraCalibration | None:
        """Return the calibration of a stream of pictures; None where it is not known."""
        return next((camera for camera in self.cameras if camera.stream == stream), None)

    def with_cameras(self, cameras: Iterable[CameraCalibration]) -> Embodiment:
        """Return the body with these calibrations in place of its own of the same streams."""
        own = {camera.stream: camera for camera in self.cameras}
        new = {camera.stream: camera for camera in cameras}
        return replace(self, cameras=tuple((own | new).values())) if new else self

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready form; `from_json` reads it back. It says nothing of cameras where none is calibrated."""
        data = asdict(self)
        return data if self.cameras else {key: value for key, value in data.items() if key != "cameras"}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Embodiment:
        """Read what `to_json` wrote.

        Raises:
            ValueError: if it is something else, or names more or fewer dimensions than there are.
        """
        body = config_from_json(cls, data, "embodiment")
        for kind, names, size in (
            ("state", body.state_names, body.state_dim),
            ("action", body.action_names, body.action_dim),
        ):
            if names and len(names) != size:
                raise ValueError(f"embodiment.{kind}_names are {len(names)}, but embodiment.{kind}_dim={size}")
        return body


@dataclass(frozen=True)
class Task:
    """An instruction in words, for one embodiment.

    Attributes:
        instruction: the words.
        embodiment: the body.
        dataset: name of the dataset whose statistics the row's values go by, where a policy learned from several; ""
            where it learned from one.
    """

    instruction: str
    embodiment: Embodiment
    dataset: str = ""
