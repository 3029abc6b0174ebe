"""Detection of LIBERO's demonstrations whose rows hold the observation after the action, by the simulator's states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.data.hdf5_bounds import refuse_unstored

_PLAYED_BACK_RAD = 0.02
"""LIBERO's observations come from playing the actions again, which may stray a little from the states of the first
time; LIBERO itself warns from 0.01 on."""

When = Literal["late", "in time", "unknown"]


def observed_late(where: str, seen: Sequence[When], names: Sequence[str]) -> list[bool]:
    """Return whether each demonstration of a file is to be read with the actions of the next rows.

    A file is mostly of one kind, and demonstrations that do not tell are taken as the others; where none tells, rows
    are taken as they are. A file that was joined from both kinds is read demonstration by demonstration.

    Args:
        where: the beginning of messages.
        seen: result of `when_observed` for each demonstration.
        names: those of the demonstrations.

    Raises:
        DatasetError: if some are late, some in time, and one does not tell.
    """
    if "late" in seen and "in time" in seen and "unknown" in seen:
        late, in_time, unknown = (names[seen.index(kind)] for kind in ("late", "in time", "unknown"))
        raise DatasetError(
            f"{where}: {late} has each observation in the row of the action before it and {in_time} in that of the "
            f"action after it, but the states of {unknown} do not show which it is; leave it out, or split the file"
        )
    return [kind == "late" or (kind == "unknown" and "late" in seen) for kind in seen]


def when_observed(where: str, demo: h5py.Group, joints: NDArray[np.float32]) -> When:
    """Return whether rows hold what was observed after their action, as in LIBERO's own files, or before it.

    ``scripts/create_dataset.py`` keeps of a step the simulator's state before its action, but the observation after
    it, so that a policy trained on its rows would learn what was just done instead of what to do next. The joints
    tell: those of row t are found again in the simulator's state, time first and then the joints, of row t or of
    row t + 1. A demonstration without states, or in which both are as near or far, does not tell.

    Args:
        where: the file and demonstration, for messages.
        demo: its group.
        joints: (T, 7) observed joints [rad].
    """
    states = demo.get("states")
    if not isinstance(states, h5py.Dataset) or not _are_states(states, len(joints)):
        return "unknown"
    refuse_unstored(f"{where}: states", states)
    simulated, observed = states[:, 1:8], joints[:-1]
    to_row_rad, to_next_rad = np.abs(simulated[:-1] - observed).mean(), np.abs(simulated[1:] - observed).mean()
    if to_next_rad < min(0.5 * to_row_rad, _PLAYED_BACK_RAD):
        return "late"
    return "in time" if to_row_rad < min(0.5 * to_next_rad, _PLAYED_BACK_RAD) else "unknown"


def _are_states(states: h5py.Dataset, length: int) -> bool:
    is_table = states.dtype.kind == "f" and states.ndim == 2 and states.shape[1] > 7
    return is_table and len(states) == length and length > 1
