"""The traffic light that counts at each control step of a scene, which our own collector notes beside the CAN files.

Files of nuScenes do not tell it, and neither do scenes of earlier collectors: there it is unknown.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.data.nuscenes.can_bus import CanBus
from tempovla.data.nuscenes.files import REMEDY
from tempovla.data.nuscenes.layout import SIDECAR_MARK
from tempovla.data.nuscenes.motion import Motion
from tempovla.data.nuscenes.scenes import Scene
from tempovla.storage.json_files import shown
from tempovla.timeline.driving import LIGHT_RANGE_M, LIGHT_STATES

SIDECAR = "next_light"
"""Has an entry for each key frame: null where no light follows on the route, else its `state`, one of `LIGHT_STATES`,
and `distance_m` from the front of the car to its stop line."""


def has_lights(can: CanBus) -> bool:
    """Return whether the lights of a scene are known."""
    return can.has(SIDECAR_MARK + SIDECAR)


def read_lights(can: CanBus, scene: Scene, motion: Motion) -> NDArray[np.float32] | None:
    """Return the light (L, 1) at each control step, as a number of `LIGHT_STATES`; None where it is not known.

    Args:
        can: the scene's messages.
        scene: the scene.
        motion: of its car.

    Raises:
        DatasetError: if the file of them is damaged.
    """
    told = can.per_key_frame(SIDECAR, len(scene.times_us))
    if told is None:
        return None
    numbers = np.array([_number(entry, can) for entry in told], np.float32)
    newest = np.searchsorted(scene.times_us, motion.steps_us, side="right") - 1
    return numbers[newest][:, None]


def _number(entry: Any, can: CanBus) -> int:
    if entry is None:
        return LIGHT_STATES.index("none")
    state, distance = (entry.get("state"), entry.get("distance_m")) if isinstance(entry, dict) else (None, None)
    if state not in LIGHT_STATES or not isinstance(distance, int | float) or not math.isfinite(distance):
        path = can.path(SIDECAR_MARK + SIDECAR)
        raise DatasetError(
            f"{path}: holds {shown(entry)}, and not a state, one of {', '.join(LIGHT_STATES)}, with a distance_m; "
            f"{REMEDY}"
        )
    return LIGHT_STATES.index(state if distance <= LIGHT_RANGE_M else "none")
