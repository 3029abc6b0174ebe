"""From live observations to the context that a policy was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tempovla.timeline import Context, Embodiment, Task, Track, Window
from tempovla.timeline.keys import ACTION_KEY


class ContextBuilder:
    """Remembers, row by row, what the windows of a policy still need of the past.

    Steps before an episode's start repeat its first observation and are invalid, as in a dataset; so are past actions
    that were never taken.

    Args:
        windows: of the policy; offsets of the future are not its business and are ignored.
        embodiment: the body that acts.
        num_rows: environments in parallel.
    """

    def __init__(self, windows: Sequence[Window], embodiment: Embodiment, num_rows: int) -> None:
        self.embodiment = embodiment
        self.num_rows = num_rows
        self._offsets = {
            window.key: [offset for offset in window.offsets if offset < (0 if window.key == ACTION_KEY else 1)]
            for window in windows
        }
        self._offsets = {key: offsets for key, offsets in self._offsets.items() if offsets}
        self._history: list[dict[str, list[NDArray]]] = [{} for _ in range(num_rows)]
        self._instructions = [""] * num_rows
        self._first = np.ones(num_rows, dtype=bool)

    @property
    def needs_every_step(self) -> bool:
        """Whether the windows reach into the past, so that no step's observation may be skipped."""
        return any(min(offsets) < 0 for offsets in self._offsets.values())

    def has_row(self, row: int) -> bool:
        """Whether an episode was ever started in the row."""
        return bool(self._history[row])

    def reset(self, row: int, instruction: str, observation: Mapping[str, NDArray]) -> None:
        """Start an episode in one row with its first observation."""
        self._history[row] = {key: [observation[key]] for key in self._offsets if key in observation}
        self._instructions[row] = instruction
        self._first[row] = True

    def add(self, row: int, action: NDArray, observation: Mapping[str, NDArray]) -> None:
        """One more step of one row: the action taken (A,), and the observation that followed."""
        history = self._history[row]
        for key, offsets in self._offsets.items():
            if key == ACTION_KEY:
                history.setdefault(key, []).append(np.asarray(action, dtype=np.float32))
            elif key in observation:
                history[key].append(observation[key])
            if key in history:
                del history[key][: -(1 - min(offsets))]
        self._first[row] = False

    def context(self) -> Context:
        """What all rows see now."""
        past: dict[str, Track] = {}
        now: dict[str, Track] = {}
        for key, offsets in self._offsets.items():
            if key != ACTION_KEY and key not in self._history[0]:
                continue
            track = self._track(key, offsets)
            for group, chosen in ((past, track.offset < 0), (now, track.offset == 0)):
                if bool(chosen.any()):
                    group[key] = track.select(chosen)
        tasks = tuple(Task(instruction, self.embodiment) for instruction in self._instructions)
        return Context(past, now, tasks, torch.from_numpy(self._first.copy()))

    def _track(self, key: str, offsets: Sequence[int]) -> Track:
        newest = -1 if key == ACTION_KEY else 0  # the action at offset 0 is still to be chosen
        values, valid = [], []
        for history in self._history:
            seen = history.get(key, [])
            index = [len(seen) - 1 + offset - newest for offset in offsets]
            valid.append([i >= 0 for i in index])
            if seen:
                values.append(np.stack([seen[max(i, 0)] for i in index]))
            else:
                values.append(np.zeros((len(offsets), self.embodiment.action_dim), dtype=np.float32))
        return Track.of(torch.from_numpy(np.stack(values)), offsets, torch.tensor(valid))
