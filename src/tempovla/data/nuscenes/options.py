"""How nuScenes' files are read."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from tempovla.data.errors import DatasetError
from tempovla.timeline.arguments import brief
from tempovla.timeline.driving import CONTROL_RATE_HZ

Missing = Literal["error", "mask"]
Commands = Literal["told", "path"]


@dataclass(frozen=True)
class NuScenesOptions:
    """Facts about a folder of nuScenes' format that its files leave open.

    Attributes:
        version: name of the folder of tables, such as `v1.0-mini`; the only one, by default.
        rate_hz: control rate [Hz]; at 2 Hz the control steps are the key frames.
        max_lidar_points: points of one reading of the LiDAR; of more, every so many are left out. By default as many
            as the largest cloud of a key frame has.
        max_radar_points: targets of one reading of all radars.
        missing: what becomes of a reading whose file is not there: an `error`, or a reading that is not valid (`mask`).
        commands: where the navigator's commands are from: what the files tell (`told`), or the path that was driven
            alone (`path`), as works on nuScenes have it, so that scenes of the simulator say the same as those.
    """

    version: str | None = None
    rate_hz: float = CONTROL_RATE_HZ
    max_lidar_points: int | None = None
    max_radar_points: int = 640
    missing: Missing = "error"
    commands: Commands = "told"

    def told(self) -> dict[str, Any]:
        """Return the options that are not as they are by default, as plain JSON values."""
        usual = NuScenesOptions()
        return {name: value for name, value in asdict(self).items() if value != getattr(usual, name)}

    def __post_init__(self) -> None:
        if not isinstance(self.rate_hz, int | float) or not 0 < self.rate_hz < math.inf:
            raise DatasetError(f"rate_hz={brief(self.rate_hz)} must be a positive number; 2 is that of key frames")
        for name in ("max_lidar_points", "max_radar_points"):
            count = getattr(self, name)
            if count is not None and (not isinstance(count, int) or count < 1):
                raise DatasetError(f"{name}={brief(count)} must be a positive whole number")
        for name, known in (("missing", get_args(Missing)), ("commands", get_args(Commands))):
            if getattr(self, name) not in known:
                raise DatasetError(f"{name}={brief(getattr(self, name))} is unknown; choose from {', '.join(known)}")
