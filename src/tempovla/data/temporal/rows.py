"""Reading tracks from samples that are dicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tempovla.timeline.arguments import brief
from tempovla.timeline.track import Track


def given(rows: Sequence[Mapping[str, Any]], row: int, *names: str | None) -> Any:
    """Return what a row has under the first of several keys that it has.

    Raises:
        ValueError: if it has none of them.
    """
    wanted = [name for name in names if name is not None]
    for name in wanted:
        if rows[row].get(name) is not None:
            return rows[row][name]
    raise ValueError(f"row {row} has no {' and no '.join(map(repr, wanted))}; it has {sorted(rows[row])}")


class RowReader:
    """Makes tracks of what rows hold.

    Args:
        rows: the samples.
        cameras: keys of the pictures, in the order in which rows list them.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], cameras: Sequence[str]) -> None:
        self._rows = rows
        self._cameras = tuple(cameras)

    def images(
        self, name: str, other: str | None, offset: int, like: Mapping[str, Track] | None = None
    ) -> dict[str, Track]:
        """Return frames (B, 1, H, W, 3) uint8 by camera.

        Args:
            name: key of the pictures.
            other: key under which they are if that one is missing.
            offset: when they were seen, relative to now.
            like: tracks of now. With them, rows that lack the pictures get black ones, which are not valid; without
                them, every row needs its pictures.

        Raises:
            ValueError: if pictures are missing, or too many, or differ in size.
        """
        frames = [self._pictures(row, name, other, like) for row in range(len(self._rows))]
        valid = self._valid(name, like)
        tracks = {}
        for place, camera in enumerate(self._cameras):
            stacked = _stack([pictures[place] for pictures in frames], f"{name}[{place}]")
            tracks[camera] = Track.of(stacked[:, None], (offset,), valid)
        return tracks

    def _pictures(
        self, row: int, name: str, other: str | None, like: Mapping[str, Track] | None
    ) -> list[NDArray[np.uint8]]:
        if like is not None and self._rows[row].get(name) is None:
            return [np.zeros(tuple(like[camera].value.shape[2:]), np.uint8) for camera in self._cameras]
        pictures = given(self._rows, row, name, other)
        if not isinstance(pictures, Sequence) or len(pictures) != len(self._cameras):
            count = len(pictures) if isinstance(pictures, Sequence) else brief(pictures)
            raise ValueError(
                f"row {row}: {name} holds {count} pictures, but there are {len(self._cameras)} cameras, "
                f"{list(self._cameras)}; give a list with one picture a camera"
            )
        return [_frame(picture, f"row {row}: {name}[{place}]") for place, picture in enumerate(pictures)]

    def state(self, name: str, other: str | None, offset: int, like: Track | None = None) -> Track:
        """Return states (B, 1, P) float32; see `images`."""
        values = []
        for row in range(len(self._rows)):
            if like is not None and self._rows[row].get(name) is None:
                values.append(np.zeros(like.value.shape[2:], np.float32))
            else:
                state = _numbers(given(self._rows, row, name, other), f"row {row}: {name}")
                values.append(state.reshape(-1) if state.ndim < 2 or state.shape[0] == 1 else state)
        valid = self._valid(name, like)
        if like is not None:
            valid = valid & torch.tensor([[row.get(name) is not None] for row in self._rows])
        return Track.of(_stack(values, name)[:, None], (offset,), valid)

    def actions(self, name: str, offsets: Sequence[int]) -> Track:
        """Return actions (B, T, A) float32 at these offsets.

        Raises:
            ValueError: if a row has more or fewer.
        """
        values, valid = [], []
        for row in range(len(self._rows)):
            value = _numbers(given(self._rows, row, name), f"row {row}: {name}")
            flags = self._rows[row].get(f"{name}_valid")
            seen = np.ones(len(offsets), np.bool_) if flags is None else np.asarray(flags, np.bool_).reshape(-1)
            if value.ndim != 2 or not len(value) == len(seen) == len(offsets):
                raise ValueError(
                    f"row {row}: {name} has shape {list(value.shape)} and {len(seen)} flags in {name}_valid; give "
                    f"{len(offsets)} actions, and a flag for each"
                )
            values.append(value)
            valid.append(torch.from_numpy(seen))
        return Track.of(_stack(values, name), offsets, torch.stack(valid))

    def past_actions(self, k: int) -> Track:
        """Return the actions of the k steps before now (B, k, A) float32; rows without them have none that count."""
        like = _numbers(given(self._rows, 0, "action"), "row 0: action")
        values = []
        for row in range(len(self._rows)):
            value = self._rows[row].get("action_prev")
            value = (
                np.zeros((k, like.shape[-1]), np.float32)
                if value is None
                else _numbers(value, f"row {row}: action_prev")
            )
            if value.shape != (k, like.shape[-1]):
                raise ValueError(
                    f"row {row}: action_prev has shape {list(value.shape)}; give the {k} actions before now, of "
                    f"{like.shape[-1]} dimensions each"
                )
            values.append(value)
        valid = self._flags("valid_tmk", "action_prev")
        return Track.of(_stack(values, "action_prev"), range(-k, 0), valid.expand(-1, k))

    def _valid(self, name: str, like: object) -> torch.Tensor:
        """(B, 1) whether what is there under `name` was observed; what is of now always was."""
        if like is None:
            return torch.ones((len(self._rows), 1), dtype=torch.bool)
        suffix = name.rpartition("_")[2]
        return self._flags(f"valid_{suffix}", f"image_{suffix}")

    def _flags(self, name: str, needed: str) -> torch.Tensor:
        """(B, 1) whether a row says 1 under `name`, and has what that is about.

        Raises:
            ValueError: if it says something else than a number from 0 to 1.
        """
        flags = []
        for number, row in enumerate(self._rows):
            flag = row.get(name)
            value = 0.0 if flag is None else float(_numbers(flag, f"row {number}: {name}").reshape(-1)[0])
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"row {number}: {name} is {value}; it must be 1.0 for observed, or 0.0")
            flags.append([value > 0.5 and row.get(needed) is not None])
        return torch.tensor(flags)


def _frame(picture: Any, where: str) -> NDArray[np.uint8]:
    if isinstance(picture, Image.Image):
        return np.array(picture.convert("RGB"))
    frame = np.asarray(picture)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3:
        raise ValueError(
            f"{where} is {frame.dtype} of shape {list(frame.shape)}; give a picture of PIL, or uint8 RGB (H, W, 3)"
        )
    return frame


def _numbers(value: Any, where: str) -> NDArray[np.float32]:
    try:
        found = np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"{where} is {brief(value)}; give numbers") from None
    if found.size == 0:
        raise ValueError(f"{where} is empty; give numbers")
    return found


def _stack(values: Sequence[NDArray[Any]], name: str) -> torch.Tensor:
    shapes = sorted({value.shape for value in values})
    if len(shapes) > 1:
        raise ValueError(f"{name} has the shapes {list(map(list, shapes))} in one batch; bring all rows to one")
    return torch.from_numpy(np.stack(values))
