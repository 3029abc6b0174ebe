"""The traffic light that counts at each control step of a scene, which our own collector notes beside the CAN files.

Files of nuScenes do not tell it, and neither do scenes of earlier collectors: there it is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.data.nuscenes.can_bus import CanBus
from tempovla.data.nuscenes.files import REMEDY, are_finite, read_json_list
from tempovla.data.nuscenes.layout import SIDECAR_MARK
from tempovla.data.nuscenes.motion import Motion
from tempovla.data.nuscenes.poses import inverse, move_points
from tempovla.data.nuscenes.scenes import Scene
from tempovla.storage.json_files import shown
from tempovla.timeline.driving import HEAD_NAMES, LIGHT_RANGE_M, LIGHT_STATES, MOST_HEADS
from tempovla.timeline.points import pad_points

SIDECAR = "next_light"
"""Has an entry for each key frame: null where no light follows on the route, else its `state`, one of `LIGHT_STATES`,
`distance_m` from the front of the car to its stop line, and maybe `heads`, x, y and z of each head that shows it, in
the global frame [m]."""


@dataclass(frozen=True)
class Lights:
    """The lights of a scene.

    Attributes:
        states: (L, 1) at each control step, as a number of `LIGHT_STATES`.
        heads: (L, `MOST_HEADS`, 3) in the ego frame of each control step [m], with NaN behind those that show the
            light; None where the file does not tell those of every light.
    """

    states: NDArray[np.float32]
    heads: NDArray[np.float32] | None


def has_lights(can: CanBus) -> bool:
    """Return whether the lights of a scene are known."""
    return can.has(SIDECAR_MARK + SIDECAR)


def has_heads(can: CanBus) -> bool:
    """Return whether it is known where they are."""
    if not has_lights(can):
        return False
    entries = read_json_list(can.path(SIDECAR_MARK + SIDECAR))
    return any(isinstance(entry, dict) and "heads" in entry for entry in entries)


def read_lights(can: CanBus, scene: Scene, motion: Motion) -> Lights | None:
    """Return the lights of a scene; None where they are not known.

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
    states = numbers[newest][:, None]
    places = [_places(entry, can) for entry in told]
    if any(entry is not None and "heads" not in entry for entry in told):
        return Lights(states, None)
    heads = []
    for step, frame in enumerate(newest.tolist()):
        shown = places[frame] if states[step, 0] else np.zeros((0, len(HEAD_NAMES)))
        heads.append(pad_points(move_points(inverse(motion.poses[step]), shown), MOST_HEADS))
    return Lights(states, np.stack(heads))


def _number(entry: Any, can: CanBus) -> int:
    if entry is None:
        return LIGHT_STATES.index("none")
    state, distance = (entry.get("state"), entry.get("distance_m")) if isinstance(entry, dict) else (None, None)
    if state not in LIGHT_STATES or not isinstance(distance, int | float) or not are_finite([distance]):
        wanted = f"a state, one of {', '.join(LIGHT_STATES)}, with a distance_m"
        raise _damaged(entry, can, wanted)
    return LIGHT_STATES.index(state if distance <= LIGHT_RANGE_M else "none")


def _places(entry: Any, can: CanBus) -> NDArray[np.float64]:
    """The heads (K, 3) of an entry in the global frame."""
    told = [] if entry is None else entry.get("heads", [])
    sound = isinstance(told, list) and all(
        isinstance(head, list) and len(head) == len(HEAD_NAMES) and all(isinstance(n, int | float) for n in head)
        for head in told
    )
    if not sound or not are_finite(told):
        raise _damaged(entry, can, "heads, a list of places x, y, z")
    return np.array(told, dtype=np.float64).reshape(-1, len(HEAD_NAMES))


def _damaged(entry: Any, can: CanBus, wanted: str) -> DatasetError:
    return DatasetError(f"{can.path(SIDECAR_MARK + SIDECAR)}: holds {shown(entry)}, and not {wanted}; {REMEDY}")
