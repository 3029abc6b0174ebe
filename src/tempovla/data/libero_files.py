"""Reading of LIBERO's demonstration files: contents and numbers are checked and read; pictures stay in the files."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tempovla.data.column_values import BadColumnError, lossless
from tempovla.data.errors import DatasetError
from tempovla.data.libero_late import observed_late, when_observed
from tempovla.data.libero_layout import (
    CAMERAS,
    EE_STATE_KEY,
    HAND,
    JOINTS,
    OUTCOMES,
    RECORDING_ENTRY,
    STORED_AS,
    WIDTHS,
    LiberoImages,
    demo_number,
    instruction_of,
    task_name,
    task_of,
)
from tempovla.data.libero_links import refuse_other_files
from tempovla.data.libero_pictures import Frames, find_cameras, find_dataset, find_depths, find_frames
from tempovla.data.words import has_words
from tempovla.storage.json_files import is_lfs_pointer, lfs_problem, parse_json, visible
from tempovla.storage.paths import regular_file
from tempovla.timeline.calibration import CameraCalibration
from tempovla.timeline.keys import ACTION_KEY, DONE_KEY, STATE_KEY, is_outcome

LOGGER = logging.getLogger(__name__)

HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError)
"""Errors of h5py at a damaged place of a file."""


@dataclass(frozen=True)
class Demo:
    """One demonstration.

    Attributes:
        path: its file.
        name: its group there.
        instruction: its instruction.
        numbers: (T, D) by stream, float32 and, of `next.done`, bool.
        frames: the whereabouts of pictures, by stream.
        faults: why a camera, or numbers that no policy needs, cannot be read, by stream.
        cameras: calibrations of the cameras, where they are known.
    """

    path: Path
    name: str
    instruction: str
    numbers: Mapping[str, NDArray[Any]]
    frames: Mapping[str, Frames]
    faults: Mapping[str, str] = field(default_factory=dict)
    cameras: tuple[CameraCalibration, ...] = ()

    @property
    def length(self) -> int:
        """Number of steps."""
        return len(self.numbers[ACTION_KEY])

    def with_next_actions(self) -> Demo:
        """Return the demonstration with one step less, each step with the action of the file's next row and with what
        followed that action.
        """
        later = {key for key in self.numbers if key == ACTION_KEY or is_outcome(key)}
        numbers = {key: values[1:] if key in later else values[:-1] for key, values in self.numbers.items()}
        frames = {key: replace(f, shape=(self.length - 1, *f.shape[1:])) for key, f in self.frames.items()}
        return replace(self, numbers=numbers, frames=frames)


@dataclass(frozen=True)
class DemoFile:
    """The demonstrations of a file.

    Attributes:
        demos: in the order of their numbers; those of one number, as ``demo_01`` and ``demo_1``, in that of the names.
        task: the benchmark's name of it; "" where it is not known.
        recording: how their pictures were made, where the file declares it.
        observed_late: whether any of them has each observation in the row of the action before it.
    """

    demos: tuple[Demo, ...]
    task: str
    recording: Mapping[str, Any]
    observed_late: bool

    def with_default(self, instruction: str) -> DemoFile:
        """Return the same, with words for demonstrations that have none."""
        demos = [demo if has_words(demo.instruction) else replace(demo, instruction=instruction) for demo in self.demos]
        return replace(self, demos=tuple(demos))


def demo_files(path: Path) -> list[Path]:
    """Return the files of a folder in the order of their names, or the one file.

    Raises:
        DatasetError: if there is none.
    """
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder; give LIBERO's *.hdf5 or the folder that holds them")
    if not path.is_dir():
        return [path]
    files = visible(path.glob("*.hdf5"))
    if not files:
        deeper = sorted({str(file.parent) for file in path.glob("*/*.hdf5")})
        hint = f"give {' or '.join(deeper)}" if deeper else "give the folder that holds LIBERO's <task>_demo.hdf5 files"
        raise DatasetError(f"{path}: no *.hdf5 in this folder; {hint}")
    return files


def read_files(path: Path, images: LiberoImages = "auto") -> list[DemoFile]:
    """Return all demonstrations of a folder or file.

    A demonstration that a writer was just about to move into its task's file is there twice, and is taken once.

    Raises:
        DatasetError: if there is none, or a file is damaged, of another layout or contradicts itself.
    """
    seen: set[tuple[str, str]] = set()
    files = []
    for file in demo_files(path):
        content = read_file(file, images)
        is_part = ".part-" in file.name
        demos = tuple(d for d in content.demos if not (is_part and (task_of(file), d.name) in seen))
        seen |= {(task_of(file), demo.name) for demo in demos}
        files.append(replace(content, demos=demos))
    late = sum(file.observed_late for file in files)
    if late:
        LOGGER.info(
            "%s: %d of %d files observe after acting; each step is read with the next action", path, late, len(files)
        )
    return files


def read_file(path: Path, images: LiberoImages = "auto") -> DemoFile:
    """Return all demonstrations of one file, in the order of their numbers."""
    with open_hdf5(path) as file:
        try:
            refuse_other_files(path, file)
            return _read_opened(path, file, images)
        except DatasetError:
            raise
        except HDF5_ERRORS as error:
            raise damaged(path, error) from None


def _read_opened(path: Path, file: h5py.File, images: LiberoImages) -> DemoFile:
    data = file.get("data")
    if not isinstance(data, h5py.Group):
        there = sorted(map(str, file)) or "nothing"
        raise DatasetError(f"{path}: has no group 'data' but {there}, so it is not one of LIBERO's; leave it out")
    numbered = [(demo_number(str(name)), str(name)) for name in data]
    names = [name for _, name in sorted(pair for pair in numbered if pair[0] is not None)]
    if not names:
        raise DatasetError(f"{path}: has no demonstrations, groups data/demo_N; leave it out or copy it again")
    instruction = _instruction(path, data)
    stored = _stored(path, data) if images == "auto" else images
    demos = _without_empty(path, [_read_demo(path, name, data[name], instruction, stored) for name in names])
    seen = [when_observed(f"{d.path}: {d.name}", data[d.name], d.numbers[STATE_KEY][:, :7]) for d in demos]
    late = observed_late(str(path), seen, [demo.name for demo in demos])
    if "late" in seen and "in time" in seen:
        LOGGER.info("%s: %d of %d demonstrations observe after acting, the others before", path, sum(late), len(demos))
    pairs = zip(demos, late, strict=True)
    demos = _without_empty(path, [demo.with_next_actions() if after else demo for demo, after in pairs])
    recording = _json_attribute(path, data, "env_args").get(RECORDING_ENTRY, {})
    if not isinstance(recording, dict):
        raise DatasetError(
            f"{path}: attribute 'env_args' has {RECORDING_ENTRY!r}: {recording!r}, not an object; repair or remove it"
        )
    task = task_name(path, _text(path, data, "bddl_file_name"))
    return DemoFile(tuple(demos), task, recording, any(late))


def _stored(path: Path, data: h5py.Group) -> LiberoImages:
    """How the file says that its pictures lie in it."""
    convention = _text(path, data, "macros_image_convention")
    if convention not in STORED_AS:
        raise DatasetError(
            f"{path}: macros_image_convention is {convention!r}, neither opengl nor opencv; give the orientation of "
            "its pictures with --data.libero_images bottom_first, upright or turned (--libero-images of tempovla data)"
        )
    return STORED_AS[convention]


def _without_empty(path: Path, demos: Sequence[Demo]) -> list[Demo]:
    """Those that have a step."""
    empty = [demo.name for demo in demos if not demo.length]
    if empty:
        shown = ", ".join(empty[:8]) + (", ..." if len(empty) > 8 else "")
        LOGGER.warning("%s: %d of %d demonstrations have no step, left out: %s", path, len(empty), len(demos), shown)
    return [demo for demo in demos if demo.length]


def open_hdf5(path: Path) -> h5py.File:
    """Return a file that is open for reading, without a lock, because some network disks have no locks.

    Raises:
        DatasetError: if there is none, or it is none of HDF5's or damaged.
    """
    regular_file(path, remedy="copy the dataset again", error=DatasetError)
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if is_lfs_pointer(path):
            raise DatasetError(lfs_problem(path)) from None
        if not h5py.is_hdf5(path):
            raise DatasetError(f"{path}: not an HDF5 file, or cut off at its start; copy it again") from None
        if "locking flag" in str(error):  # this process has the file open already, with a lock
            return h5py.File(path, "r")
        raise damaged(path, error) from None


def damaged(path: Path, error: Exception, where: str = "") -> DatasetError:
    """Return the error of HDF5's library about a file, in one line."""
    reason = (str(error).strip("'\"") or type(error).__name__).splitlines()[0]
    return DatasetError(f"{path}: {where}damaged or cut off ({reason}); copy it again")


def _read_demo(path: Path, name: str, demo: h5py.Group, instruction: str, stored: LiberoImages) -> Demo:
    where = f"{path}: {name}"
    if not isinstance(demo, h5py.Group):
        raise DatasetError(f"{where} is no group of actions and obs; leave the file out, or record it again")
    columns = {key: _numbers(where, demo, key) for key in WIDTHS if key not in HAND}
    lengths = {key: len(values) for key, values in columns.items()}
    numbers: dict[str, NDArray[Any]] = {
        ACTION_KEY: columns["actions"],
        STATE_KEY: _side_by_side(where, lengths, *(columns[key] for key in JOINTS)),
    }
    _refuse_unequal(where, lengths)
    frames: dict[str, Frames] = {}
    faults: dict[str, str] = {}
    if all(key in demo for key in HAND):
        try:
            hand = {key: _numbers(where, demo, key) for key in HAND}
            _refuse_unequal(where, lengths | {key: len(values) for key, values in hand.items()})
            numbers[EE_STATE_KEY] = np.concatenate(list(hand.values()), axis=1)
        except DatasetError as error:
            faults[EE_STATE_KEY] = str(error)
    for key, name_there in OUTCOMES.items():
        if name_there in demo:
            try:
                numbers[key] = _outcomes(where, demo, key, lengths["actions"])
            except DatasetError as error:
                faults[key] = str(error)
    for key, camera in CAMERAS.items():
        try:
            found = find_frames(where, path, demo, f"obs/{camera}", stored)
            _refuse_unequal(where, {f"obs/{camera}": found.shape[0], "actions": lengths["actions"]})
        except DatasetError as error:
            faults[key] = str(error)
        else:
            frames[key] = found
    frames |= find_depths(where, path, demo, stored, lengths["actions"])
    return Demo(path, name, instruction, numbers, frames, faults, find_cameras(where, demo))


def _outcomes(where: str, demo: h5py.Group, key: str, steps: int) -> NDArray[Any]:
    """What followed each action, (T, 1) float32, or bool where it is whether the episode was over."""
    name = OUTCOMES[key]
    dataset = find_dataset(where, demo, name)
    if dataset.shape not in ((steps,), (steps, 1)) or dataset.dtype.kind not in "fiub":
        raise DatasetError(
            f"{where}: {name} is {dataset.dtype} {list(dataset.shape)}, but one number for each of {steps} steps is "
            "needed; record it again, or remove it"
        )
    values = _checked(where, name, dataset[()].reshape(steps, 1))
    return values != 0 if key == DONE_KEY else values


def _numbers(where: str, demo: h5py.Group, key: str) -> NDArray[np.float32]:
    dataset = find_dataset(where, demo, key)
    if dataset.ndim != 2 or dataset.shape[1] != WIDTHS[key] or dataset.dtype.kind not in "fiu":
        raise DatasetError(
            f"{where}: {key} is {dataset.dtype} {list(dataset.shape)}, but {WIDTHS[key]} numbers for each step are "
            "needed; leave out the file, or record it again"
        )
    return _checked(where, key, dataset[()])


def _checked(where: str, key: str, stored: NDArray[Any]) -> NDArray[np.float32]:
    """Numbers (T, D) of a dataset as float32, in which all of them must have a place."""
    try:
        values = lossless(stored.reshape(-1), "float32", stored.shape[1]).reshape(stored.shape)
    except BadColumnError as error:
        raise DatasetError(
            f"{where}: {key} {error}, at step {error.row}; remove the demonstration or repair the values"
        ) from None
    if not np.isfinite(values).all():
        step = int(np.argwhere(~np.isfinite(values))[0][0])
        raise DatasetError(
            f"{where}: {key} has {values[step][~np.isfinite(values[step])][0]} at step {step}; remove the "
            "demonstration or repair the values"
        )
    return values


def _side_by_side(where: str, lengths: Mapping[str, int], *parts: NDArray[np.float32]) -> NDArray[np.float32]:
    if len({len(part) for part in parts}) > 1:
        _refuse_unequal(where, lengths)
    return np.concatenate(parts, axis=1)


def _refuse_unequal(where: str, lengths: Mapping[str, int]) -> None:
    for key, length in lengths.items():
        if length != lengths["actions"]:
            raise DatasetError(
                f"{where}: {key} has {length} steps, but there are {lengths['actions']} actions; remove the "
                "demonstration or record it again"
            )


def _instruction(path: Path, data: h5py.Group) -> str:
    words = _json_attribute(path, data, "problem_info").get("language_instruction") or ""
    if isinstance(words, list) and all(isinstance(word, str) for word in words):
        words = " ".join(words)
    if not isinstance(words, str):
        raise DatasetError(
            f"{path}: attribute 'problem_info' of 'data' has language_instruction {words!r}, no text; write the "
            "instruction there, or delete the attribute: the words are then taken from the file's name"
        )
    words = words.strip(" ")
    if words.count('"') == 2 and words[0] == words[-1] == '"':  # around the whole, as some of LIBERO's tools have it
        words = words[1:-1].strip(" ")
    return words if words.strip(' "') else instruction_of(path)


def _json_attribute(path: Path, data: h5py.Group, name: str) -> dict[str, Any]:
    text = _text(path, data, name)
    remedy = "repair it, or delete the attribute: its content is then taken from the file's name, or unknown"
    where = f"{path}: attribute {name!r} of 'data':"
    value = parse_json(text, where, remedy=remedy, error=DatasetError) if text else {}
    return value if isinstance(value, dict) else {}


def _text(path: Path, data: h5py.Group, name: str) -> str:
    value = data.attrs.get(name, "")
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    try:
        text = value.decode() if isinstance(value, bytes) else str(value)
        text.encode()  # h5py leaves bytes that are not UTF-8 as halves of characters
    except UnicodeError:
        raise DatasetError(
            f"{path}: attribute {name!r} of 'data' is {value!r}, not UTF-8; write it anew, or delete the attribute"
        ) from None
    return text
