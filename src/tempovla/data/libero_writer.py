"""Writing demonstrations in LIBERO's own layout, an episode at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tempovla.data.errors import DatasetError
from tempovla.data.files import STAGING_NAME, Staging, disk_errors_told
from tempovla.data.image_codec import to_levels
from tempovla.data.libero_layout import (
    CAMERAS,
    CAMERAS_ATTRIBUTE,
    DEPTH_UNIT_ATTRIBUTE,
    DEPTHS,
    EE_STATE_KEY,
    IMAGE_CONVENTION,
    OUTCOMES,
    RECORDING_ENTRY,
    demo_number,
    demo_path,
    part_path,
    task_of,
)
from tempovla.data.writer_checks import check_arrays, check_depth, check_texts, numbers_given
from tempovla.storage.json_files import parse_json, plain_json, to_json_text, visible
from tempovla.storage.lock import FolderLock
from tempovla.storage.strays import is_stray
from tempovla.timeline.bodies import LIBERO_PANDA
from tempovla.timeline.calibration import CameraCalibration
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import ACTION_KEY, DONE_KEY, REWARD_KEY, STATE_KEY


@dataclass(frozen=True)
class LiberoEpisodeExtras:
    """Data of an episode that LIBERO's own tools need, beyond observations and actions.

    Attributes:
        states: (T, D) flattened simulator states, each before the action of its step; None leaves them out.
        executed: (T, 7) what moved the robot, where that is not ``action``: an expert's wish may be disturbed on its
            way to the robot. Kept beside ``actions`` as ``executed_actions``; None leaves it out.
        model_xml: the simulated model.
        bddl_file: the task's definition, somewhere in a folder ``bddl_files``.
        env_name: the environment's class, e.g. ``Libero_Floor_Manipulation``.
        env_kwargs: arguments of the environment, as plain JSON values.
        cameras: calibrations of the episode's cameras.
    """

    states: NDArray[np.float64] | None = None
    executed: NDArray[Any] | None = None
    model_xml: str = ""
    bddl_file: str | Path = ""
    env_name: str = ""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    cameras: tuple[CameraCalibration, ...] = ()


class LiberoHdf5Writer:
    """Writes ``<task>_demo.hdf5`` files such that a kill at any moment loses no finished episode.

    An HDF5 file that is killed in the middle of a change may be lost as a whole, so none is ever changed: every
    episode becomes a small file of its own beside the others, which appears whole or not at all and which
    `LiberoHdf5Source` and LIBERO's tools read like any other. `close` joins them to one file a task, as LIBERO has it.

    Args:
        folder: folder to create.
        recording: how the pictures were made, as plain JSON values; kept in ``env_args``.
        resume: add to the files in `folder` if there are any.

    Raises:
        DatasetError: if another process writes there, `folder` is not empty and `resume` is not set, or its pictures
            were made in another way.
    """

    def __init__(self, folder: str | Path, *, recording: Mapping[str, Any] | None = None, resume: bool = False) -> None:
        self.folder = Path(folder)
        self.recording = plain_json(dict(recording or {}))  # as it will be read
        self._staging = Staging(self.folder)
        self._written: dict[str, set[int]] = {}
        remedy = "let it end, or choose another folder"
        self._lock = FolderLock(self.folder, "writes demonstrations", remedy=remedy, error=DatasetError)
        try:
            self._open(resume)
        except (OSError, ValueError):
            self._lock.release()
            raise

    def _open(self, resume: bool) -> None:
        """Go on with what is there."""
        if not resume and any(not is_stray(path.name) and path.name != STAGING_NAME for path in self.folder.iterdir()):
            raise DatasetError(
                f"{self.folder}: not empty, and nothing is overwritten; give another folder, or resume it"
            )
        self._staging.clear()
        for path in visible(self.folder.glob("*.hdf5")):
            self._take_over(path)

    def __enter__(self) -> LiberoHdf5Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        self._lock.release()

    def episodes_written(self, task: str) -> int:
        """Return how many episodes of a task are on the disk."""
        return len(self._written.get(task, ()))

    def add_episode(
        self,
        task: str,
        instruction: str,
        steps: Mapping[str, NDArray[Any]],
        extras: LiberoEpisodeExtras | None = None,
    ) -> int:
        """Write one episode; when this returns, it is on the disk.

        Args:
            task: the task's name, that of its file.
            instruction: the task in words.
            steps: arrays (T, ...) by stream: ``action`` (T, 7), ``observation.state`` (T, 9), both cameras
                (T, H, W, 3) uint8 RGB, upright, and where known ``observation.ee_state`` (T, 6), the hand's position
                [m] and axis-angle [rad], the cameras' depth (T, H, W, 1) [m], upright, kept to the millimetre, and
                ``next.reward`` and ``next.done`` (T, 1). Without these two the last step is rewarded with 1 and ends
                the episode, as in LIBERO's own files.
            extras: for LIBERO's own tools.

        Returns:
            N of the episode's group ``demo_N``.

        Raises:
            DatasetError: if a stream is missing, has another shape, is not finite or is beyond float32, as which it is
                read, if the instruction is no text that readers take, or if the disk is full; the episodes written
                before are safe.
        """
        extras = extras or LiberoEpisodeExtras()
        if not isinstance(task, str) or not task or "/" in task or not task.isprintable():
            raise DatasetError(f"{self.folder}: task {task!r} cannot be part of a file's name; rename it")
        number = max(self._written.get(task, ()), default=-1) + 1
        path = part_path(self.folder, task, number)
        length = _validated_length(f"{path}: demo_{number}", steps, extras)
        check_texts(f"{path}: demo_{number}", [instruction])
        with self._disk_errors_told(f"writing {path.name}"):
            staged = self._staging.path(path.name)
            with h5py.File(staged, "w") as file:
                data = file.create_group("data")
                data.attrs.update(_task_attributes(instruction, extras, self.recording))
                data.attrs.update(num_demos=1, total=length)
                _write_demo(data.create_group(f"demo_{number}"), steps, extras)
            self._staging.publish(staged, path)
        self._written.setdefault(task, set()).add(number)
        return number

    def close(self) -> None:
        """Join the episodes of every task in one file, and let others write there.

        Without it the files are readable all the same.

        Raises:
            DatasetError: if the disk does not take them; all episodes are safe.
        """
        try:
            for task in sorted(self._written):
                parts = [part_path(self.folder, task, number) for number in sorted(self._written[task])]
                parts = [path for path in parts if path.exists()]
                if parts:
                    with self._disk_errors_told(f"joining the episodes of {task}"):
                        self._join(demo_path(self.folder, task), parts)
            self._staging.clear()
        finally:
            self._lock.release()

    def _join(self, target: Path, parts: list[Path]) -> None:
        staged = self._staging.path(target.name)
        total = 0
        with h5py.File(staged, "w") as file:
            data = file.create_group("data")
            for path in [target, *parts] if target.exists() else parts:
                with h5py.File(path, "r", locking=False) as other:
                    if not data.attrs:
                        data.attrs.update(other["data"].attrs)
                    for name in sorted(other["data"].keys() - data.keys()):
                        other.copy(f"data/{name}", data, name)
                        total += int(data[name].attrs["num_samples"])
            data.attrs.update(num_demos=len(data), total=total)
        self._staging.publish(staged, target)
        for path in parts:  # one that a kill spares is known by its number, and is not read twice
            path.unlink()

    def _take_over(self, path: Path) -> None:
        try:
            with h5py.File(path, "r", locking=False) as file:
                recording = parse_json(file["data"].attrs["env_args"], "env_args is", remedy="repair it")
                recording = recording.get(RECORDING_ENTRY, {})
                numbers = {number for name in file["data"] if (number := demo_number(name)) is not None}
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            reason = str(error).partition("; ")[0]
            raise DatasetError(f"{path}: not written here ({reason}); give another folder") from None
        if recording != self.recording:
            raise DatasetError(
                f"{path}: was recorded with {json.dumps(recording)}, not {json.dumps(self.recording)}; give another "
                "folder, or record in the same way"
            )
        self._written.setdefault(task_of(path), set()).update(numbers)

    def _disk_errors_told(self, doing: str) -> AbstractContextManager[None]:
        return disk_errors_told(self.folder, doing, "the episodes written", self._staging.clear)


def _task_attributes(instruction: str, extras: LiberoEpisodeExtras, recording: Mapping[str, Any]) -> dict[str, str]:
    bddl = Path(extras.bddl_file)
    parts = bddl.parts
    if "bddl_files" in parts:  # whose folders they were is nobody's business
        name = Path(*parts[parts.index("bddl_files") :]).as_posix()
    else:
        name = bddl.name
    problem = extras.env_name.lower()
    env_args: dict[str, Any] = {
        "type": 1,  # robomimic's number for robosuite
        "env_name": extras.env_name,
        "problem_name": problem,
        "bddl_file": name,
        "env_kwargs": dict(extras.env_kwargs),
    }
    if recording:
        env_args[RECORDING_ENTRY] = dict(recording)
    info = {"problem_name": problem, "domain_name": "robosuite", "language_instruction": instruction}
    return {
        "env_name": extras.env_name,
        "env_args": to_json_text(env_args),
        "problem_info": to_json_text(info),
        "bddl_file_name": name,
        "bddl_file_content": bddl.read_text(encoding="utf-8") if bddl.is_file() else "",
        "macros_image_convention": IMAGE_CONVENTION,
        "tag": "libero-v1",
    }


def _write_demo(demo: h5py.Group, steps: Mapping[str, NDArray[Any]], extras: LiberoEpisodeExtras) -> None:
    length = len(steps[ACTION_KEY])
    last = (np.arange(length) == length - 1).astype(np.uint8)
    columns: dict[str, NDArray[Any]] = {
        "actions": np.asarray(steps[ACTION_KEY], np.float64),
        OUTCOMES[REWARD_KEY]: _rewards(steps[REWARD_KEY]) if REWARD_KEY in steps else last,
        OUTCOMES[DONE_KEY]: steps[DONE_KEY].reshape(-1).astype(np.uint8) if DONE_KEY in steps else last,
    }
    state = np.asarray(steps[STATE_KEY], np.float64)
    observations: dict[str, NDArray[Any]] = {"joint_states": state[:, :7], "gripper_states": state[:, 7:]}
    for key, name in CAMERAS.items():
        observations[name] = steps[key][:, ::-1]
    for key, name in DEPTHS.items():
        if key in steps:
            observations[name] = to_levels(steps[key])[:, ::-1]
    if EE_STATE_KEY in steps:
        hand = np.asarray(steps[EE_STATE_KEY], np.float64)
        observations |= {"ee_states": hand, "ee_pos": hand[:, :3], "ee_ori": hand[:, 3:]}
        columns["robot_states"] = np.concatenate([state[:, 7:], hand[:, :3], _quaternion(hand[:, 3:])], axis=1)
    if extras.states is not None:
        columns["states"] = np.asarray(extras.states, np.float64)
        demo.attrs.create("init_state", columns["states"][0])
    if extras.executed is not None:
        columns["executed_actions"] = np.asarray(extras.executed, np.float64)
    demo.attrs["num_samples"] = length
    demo.attrs["model_file"] = extras.model_xml
    if extras.cameras:
        demo.attrs[CAMERAS_ATTRIBUTE] = to_json_text([config_to_json(camera) for camera in extras.cameras])
    for name, values in columns.items():
        demo.create_dataset(name, data=values)
    for name, values in observations.items():
        dataset = demo.create_dataset(f"obs/{name}", data=values)
        if name in DEPTHS.values():
            dataset.attrs[DEPTH_UNIT_ATTRIBUTE] = "mm"


def _rewards(values: NDArray[Any]) -> NDArray[Any]:
    """(T,) rewards: as LIBERO has its own, small whole numbers, where there are no others than 0 and 1."""
    flat = values.reshape(-1)
    return flat.astype(np.uint8) if np.isin(flat, (0, 1)).all() else flat.astype(np.float64)


def _quaternion(axis_angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, 4) unit quaternions, x y z w, of rotation vectors (T, 3) [rad]."""
    half = 0.5 * np.linalg.norm(axis_angle, axis=1, keepdims=True)
    return np.concatenate([0.5 * axis_angle * np.sinc(half / np.pi), np.cos(half)], axis=1)


def _validated_length(where: str, steps: Mapping[str, NDArray[Any]], extras: LiberoEpisodeExtras) -> int:
    shapes: dict[str, tuple[int, ...] | None] = {
        ACTION_KEY: (LIBERO_PANDA.action_dim,),
        STATE_KEY: (LIBERO_PANDA.state_dim,),
        **dict.fromkeys(CAMERAS),
    }
    missing = sorted(shapes.keys() - steps.keys())
    unknown = sorted(steps.keys() - shapes.keys() - {EE_STATE_KEY, *DEPTHS, *OUTCOMES})
    if missing or unknown:
        raise DatasetError(
            f"{where}: {(missing or unknown)[0]!r} is {'missing' if missing else 'no stream of this layout'}; give "
            f"{', '.join(shapes)} and, where known, {EE_STATE_KEY}"
        )
    if EE_STATE_KEY in steps:
        shapes[EE_STATE_KEY] = (6,)
    shapes |= {key: (1,) for key in OUTCOMES if key in steps}
    check_arrays(where, steps)
    _check_depths(where, steps)
    length = len(steps[ACTION_KEY]) if steps[ACTION_KEY].ndim else 0
    if length == 0:
        raise DatasetError(f"{where}: the episode has no step; give arrays of at least one")
    for key, shape in shapes.items():
        values = steps[key]
        if shape is None and (values.dtype != np.uint8 or values.ndim != 4 or values.shape[-1] != 3):
            raise DatasetError(f"{where}: {key!r} is {values.dtype} {list(values.shape)}; give uint8 RGB (T, H, W, 3)")
        wanted = (length, *(values.shape[1:] if shape is None else shape))
        if values.shape != wanted:
            raise DatasetError(f"{where}: {key!r} has shape {list(values.shape)}, not {list(wanted)}; correct it")
        if shape is not None:
            numbers_given(where, key, values, "float32")  # as it will be read
    _check_rows(where, extras, length)
    return length


def _check_depths(where: str, steps: Mapping[str, NDArray[Any]]) -> None:
    """Refuse distances that are none, or not one for each step."""
    for key in DEPTHS.keys() & steps.keys():
        values, length = steps[key], len(np.atleast_1d(steps[ACTION_KEY]))
        if values.ndim != 4 or values.shape[-1] != 1 or len(values) != length:
            raise DatasetError(
                f"{where}: {key!r} has shape {list(values.shape)}; give distances ({length}, H, W, 1) in metres"
            )
        check_depth(where, key, values)


def _check_rows(where: str, extras: LiberoEpisodeExtras, length: int) -> None:
    """Refuse arrays beside the observations that do not have one row for each step."""
    for name, rows in (("simulator states", extras.states), ("executed actions", extras.executed)):
        if rows is None:
            continue
        check_arrays(where, {name: rows})
        if len(np.atleast_1d(rows)) != length:
            raise DatasetError(f"{where}: {len(np.atleast_1d(rows))} {name} for {length} steps; give one for each step")
        numbers_given(where, name, rows, "float64")
